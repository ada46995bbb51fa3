package local

import (
	"os"

	"golang.org/x/sys/unix"
)

// cutHead takes the first n bytes out of a file, whole or not at all, whoever writes to it meanwhile.
func cutHead(f *os.File, n int64) error {
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_COLLAPSE_RANGE, 0, n)
}
