package local

import (
	"syscall"

	"golang.org/x/sys/unix"
)

const maxRSSUnit = 1 // Rusage.Maxrss is in bytes

func bootID() (string, error) { return unix.Sysctl("kern.bootsessionuuid") }

const zombie = 5 // SZOMB of sys/proc.h

func identify(pid int) (process, error) {
	boot, err := bootID()
	if err != nil {
		return process{}, err
	}
	k, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return process{}, err
	}
	t := k.Proc.P_starttime
	return process{Boot: boot, PID: pid, Start: t.Sec*1e6 + int64(t.Usec)}, nil
}

func running(p process) bool {
	k, err := unix.SysctlKinfoProc("kern.proc.pid", p.PID)
	if err != nil || int(k.Proc.P_pid) != p.PID || k.Proc.P_stat == zombie {
		return false
	}
	t := k.Proc.P_starttime
	return t.Sec*1e6+int64(t.Usec) == p.Start
}

// sessionOf gives nothing: sessions cannot be listed here. The process itself is found by its own record.
func sessionOf(process) []int { return nil }

func sessionMembers(int) []int { return nil }

func dieWithParent(*syscall.SysProcAttr) {}

func oomKills() int64 { return -1 }
