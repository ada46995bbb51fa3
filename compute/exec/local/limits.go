package local

import (
	"bytes"
	"io"
	"os"
	"strings"

	"github.com/triarch-ai/triarch/compute/job"
)

// phrase joins the means by which an attempt is bounded.
func phrase(how []string) string {
	if len(how) == 0 {
		return "no limits"
	}
	return strings.Join(how, ", ")
}

// outOfMemory says whether a process that ended badly under a limit that kills nobody did so for lack of memory: by
// its last words, or because it crashed while it held more than it was given. The Go runtime does not always get to
// its last words; without memory for its own tables it may crash.
func outOfMemory(t task, exit *job.Exit, log *os.File) bool {
	if t.MemoryBytes <= 0 {
		return false
	}
	crashed := exit.Code == goCrash || exit.Signal == "SIGSEGV" || exit.Signal == "SIGABRT" || exit.Signal == "SIGBUS" || exit.Signal == "SIGTRAP"
	return crashed && exit.MaxRSS >= t.MemoryBytes || saysOutOfMemory(log)
}

// goCrash is the exit code of a Go program that panicked or whose runtime gave up.
const goCrash = 2

// saysOutOfMemory looks for the last words of a program that could not get memory: those of Go, of C libraries,
// of C++ and of Python.
func saysOutOfMemory(log *os.File) bool {
	const tail = 256 << 10
	st, err := log.Stat()
	if err != nil {
		return false
	}
	from := max(0, st.Size()-tail)
	b, err := io.ReadAll(io.NewSectionReader(log, from, st.Size()-from))
	if err != nil {
		return false
	}
	b = bytes.ToLower(b)
	for _, words := range []string{"out of memory", "cannot allocate memory", "memoryerror", "std::bad_alloc"} {
		if bytes.Contains(b, []byte(words)) {
			return true
		}
	}
	return false
}
