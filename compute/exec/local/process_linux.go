package local

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const maxRSSUnit = 1024 // Rusage.Maxrss is in KiB

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}

// stat is what /proc/PID/stat tells; the fields' numbers are those of proc_pid_stat(5).
type stat struct {
	state   byte  // field 3
	session int   // field 6
	start   int64 // field 22, clock ticks since the boot
}

func readStat(pid int) (stat, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, err
	}
	// Field 2 is the program's name in brackets and may hold anything, brackets and spaces included.
	i := bytes.LastIndexByte(b, ')')
	f := strings.Fields(string(b[i+1:]))
	if i < 0 || len(f) < 20 {
		return stat{}, fmt.Errorf("stat of process %d is odd", pid)
	}
	session, err1 := strconv.Atoi(f[3])
	start, err2 := strconv.ParseInt(f[19], 10, 64)
	if err1 != nil || err2 != nil {
		return stat{}, fmt.Errorf("stat of process %d is odd", pid)
	}
	return stat{state: f[0][0], session: session, start: start}, nil
}

// dead says whether a process in this state does nothing any more: a zombie, or on its way to being one.
func (s stat) dead() bool { return s.state == 'Z' || s.state == 'X' || s.state == 'x' }

// identify tells who process pid of this boot is.
func identify(pid int) (process, error) {
	boot, err := bootID()
	if err != nil {
		return process{}, err
	}
	st, err := readStat(pid)
	return process{Boot: boot, PID: pid, Start: st.start}, err
}

// running says whether p, a process of this boot, lives.
func running(p process) bool {
	st, err := readStat(p.PID)
	return err == nil && st.start == p.Start && !st.dead()
}

// sessionOf gives the living processes of the session that the dead process p led. As long as one lives, the
// kernel gives the number to nobody else; so if another process has it, none does.
func sessionOf(p process) []int {
	if st, err := readStat(p.PID); err == nil && st.start != p.Start {
		return nil
	}
	return sessionMembers(p.PID)
}

// sessionMembers gives the living processes of a session without its leader.
func sessionMembers(session int) []int {
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	var out []int
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || pid == session {
			continue
		}
		if st, err := readStat(pid); err == nil && st.session == session && !st.dead() {
			out = append(out, pid)
		}
	}
	return out
}

func dieWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = unix.SIGKILL }

// oomKills is how many processes this kernel has killed for lack of memory since it started; -1 if not known.
func oomKills() int64 {
	b, err := os.ReadFile("/proc/vmstat")
	if err != nil {
		return -1
	}
	return counter(b, "oom_kill")
}

// counter reads a "name value" line; -1 if there is none.
func counter(b []byte, name string) int64 {
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			if n, err := strconv.ParseInt(strings.TrimSpace(rest), 10, 64); err == nil {
				return n
			}
		}
	}
	return -1
}
