package system

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/triarch-ai/triarch/compute/health"
)

// maxKernelLines bounds what is read of the kernel's log at once.
const maxKernelLines = 50_000

// kernelLog is what the kernel's log has; the zero Log where it may not be read, as in most containers.
func kernelLog() health.Log {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return health.Log{}
	}
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return health.Log{}
	}
	defer func() { _ = unix.Close(fd) }()
	log := health.Log{Boot: strings.TrimSpace(string(boot))}
	buf := make([]byte, 8192) // a record is one read
	for range maxKernelLines {
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EPIPE): // records were overwritten before they were read: it goes on with the oldest
			continue
		case err != nil || n <= 0:
			return log
		}
		if l, ok := record(buf[:n]); ok {
			log.Lines = append(log.Lines, l)
		}
	}
	return log
}

// record reads "priority,number,time,flags;text" and what follows in lines of its own, which is left out.
func record(b []byte) (health.Line, bool) {
	head, text, ok := bytes.Cut(b, []byte(";"))
	fields := strings.Split(string(head), ",")
	if !ok || len(fields) < 3 {
		return health.Line{}, false
	}
	priority, err := strconv.ParseUint(fields[0], 10, 32)
	if err != nil || priority>>3 != 0 { // of a facility that is not the kernel's: a program wrote it
		return health.Line{}, false
	}
	n, err := strconv.ParseUint(fields[1], 10, 62)
	if err != nil {
		return health.Line{}, false
	}
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		text = text[:i]
	}
	return health.Line{Number: n, Text: strings.ToValidUTF8(string(text), "")}, true
}
