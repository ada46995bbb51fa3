package local

import (
	"bytes"
	"io"
	"os"
	"strings"
)

// phrase joins the means by which an attempt is bounded.
func phrase(how []string) string {
	if len(how) == 0 {
		return "no limits"
	}
	return strings.Join(how, ", ")
}

// saysOutOfMemory looks for the last words of a program that could not get memory: those of Go, of C libraries,
// of C++ and of Python. It only matters where an address-space limit, which kills nobody, bounds the program.
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
