//go:build !noasm

package kernel

import "golang.org/x/sys/cpu"

var avx512Path = &path{
	name: "avx512", mr: 12, nr: 32, kc: 256, width: 16,
	rows: []microFunc{nil, micro1AVX512, micro2AVX512, micro3AVX512, micro4AVX512, micro5AVX512, micro6AVX512,
		micro7AVX512, micro8AVX512, micro9AVX512, micro10AVX512, micro11AVX512, micro12AVX512},
	wide:      [7]wideFunc{nil, wide1AVX512, wide2AVX512, wide3AVX512, wide4AVX512, wide5AVX512, wide6AVX512},
	panels:    [7]int{0, 4, 2, 2, 2, 2, 2},
	packTrans: packTransAVX2, packCopy: packCopyAVX2,
}

var avx2Path = &path{
	name: "avx2", mr: 6, nr: 16, kc: 256, width: 8,
	rows:      []microFunc{nil, micro1AVX2, micro2AVX2, micro3AVX2, micro4AVX2, micro5AVX2, micro6AVX2},
	wide:      [7]wideFunc{nil, wide1AVX2, wide2AVX2, wide3AVX2},
	panels:    [7]int{0, 4, 2, 2},
	packTrans: packTransAVX2, packCopy: packCopyAVX2,
}

// paths asks the processor, and through it the operating system, which registers may be used.
func paths() []*path {
	var list []*path
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		if cpu.X86.HasAVX512F {
			list = append(list, avx512Path)
		}
		list = append(list, avx2Path)
	}
	return append(list, portablePath)
}

// packTransAVX2 is packTransGo with blocks of four rows by eight depths in registers.
func packTransAVX2(dst []float32, w int, src []float32, ld, rows, k int) {
	if rows < w {
		clear(dst[:k*w])
	}
	whole := k &^ 7
	i := 0
	for ; i+4 <= rows; i += 4 {
		_, _ = dst[(k-1)*w+i+3], src[(i+3)*ld+k-1] // the assembly checks nothing
		transpose4AVX2(dst[i:], w, src[i*ld:], ld, whole)
		for p := whole; p < k; p++ {
			for j := i; j < i+4; j++ {
				dst[p*w+j] = src[j*ld+p]
			}
		}
	}
	for ; i < rows; i++ {
		for p, v := range src[i*ld : i*ld+k] {
			dst[p*w+i] = v
		}
	}
}

// packCopyAVX2 is packCopyGo for the panel widths of the paths here; edges take the portable way.
func packCopyAVX2(dst []float32, w int, src []float32, ld, cols, k int) {
	if cols < w || k == 0 {
		packCopyGo(dst, w, src, ld, cols, k)
		return
	}
	_, _ = dst[k*w-1], src[(k-1)*ld+w-1] // the assembly checks nothing
	switch w {
	case 6:
		copyRows6AVX2(dst, src, ld, k)
	case 12:
		copyRows12AVX2(dst, src, ld, k)
	case 16:
		copyRows16AVX2(dst, src, ld, k)
	case 32:
		copyRows32AVX2(dst, src, ld, k)
	default:
		packCopyGo(dst, w, src, ld, cols, k)
	}
}
