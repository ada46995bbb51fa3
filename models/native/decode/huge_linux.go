package decode

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const hugePage = 2 << 20

// adviseHuge asks for huge pages under a large slice that is walked in long steps: with small ones, half of a step's
// reads from the cache of keys and values miss in the table of pages. It is advice: a refusal changes nothing.
func adviseHuge(x []float32) {
	if len(x) == 0 {
		return
	}
	raw := unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), 4*len(x))
	first := -int(uintptr(unsafe.Pointer(&x[0]))) & (hugePage - 1)
	if whole := (len(raw) - first) / hugePage * hugePage; first < len(raw) && whole > 0 {
		_ = unix.Madvise(raw[first:first+whole], unix.MADV_HUGEPAGE)
	}
}
