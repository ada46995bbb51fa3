package hub

import (
	"syscall"

	"github.com/triarch-ai/triarch/internal/fault"
)

var errFull error = syscall.ENOSPC

// Free is how many bytes an ordinary user may still write to the file system of a folder.
func Free(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, fault.Wrap(err, "looking at the free space of "+dir)
	}
	return int64(min(st.Bavail, 1<<62/uint64(st.Bsize))) * int64(st.Bsize), nil
}
