package kernel

// The portable micro-kernels keep a small block of sums in registers. They all use the expression s += a*b, so that a
// compiler which fuses it does so in each of them and a row does not depend on the rows beside it.

func micro4(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool) {
	var s00, s01, s02, s03, s10, s11, s12, s13, s20, s21, s22, s23, s30, s31, s32, s33 float32
	r0, r1, r2, r3 := c[0:4:4], c[ldc:ldc+4:ldc+4], c[2*ldc:2*ldc+4:2*ldc+4], c[3*ldc:3*ldc+4:3*ldc+4]
	if load {
		s00, s01, s02, s03 = r0[0], r0[1], r0[2], r0[3]
		s10, s11, s12, s13 = r1[0], r1[1], r1[2], r1[3]
		s20, s21, s22, s23 = r2[0], r2[1], r2[2], r2[3]
		s30, s31, s32, s33 = r3[0], r3[1], r3[2], r3[3]
	}
	for p := range k {
		q := p * cs
		x := b[p*bs : p*bs+4 : p*bs+4]
		b0, b1, b2, b3 := x[0], x[1], x[2], x[3]
		v := a[q]
		s00 += v * b0
		s01 += v * b1
		s02 += v * b2
		s03 += v * b3
		v = a[q+rs]
		s10 += v * b0
		s11 += v * b1
		s12 += v * b2
		s13 += v * b3
		v = a[q+2*rs]
		s20 += v * b0
		s21 += v * b1
		s22 += v * b2
		s23 += v * b3
		v = a[q+3*rs]
		s30 += v * b0
		s31 += v * b1
		s32 += v * b2
		s33 += v * b3
	}
	r0[0], r0[1], r0[2], r0[3] = s00, s01, s02, s03
	r1[0], r1[1], r1[2], r1[3] = s10, s11, s12, s13
	r2[0], r2[1], r2[2], r2[3] = s20, s21, s22, s23
	r3[0], r3[1], r3[2], r3[3] = s30, s31, s32, s33
}

func micro1(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool) {
	var s0, s1, s2, s3 float32
	r := c[0:4:4]
	if load {
		s0, s1, s2, s3 = r[0], r[1], r[2], r[3]
	}
	for p := range k {
		v := a[p*cs]
		x := b[p*bs : p*bs+4 : p*bs+4]
		s0 += v * x[0]
		s1 += v * x[1]
		s2 += v * x[2]
		s3 += v * x[3]
	}
	r[0], r[1], r[2], r[3] = s0, s1, s2, s3
}

func micro2(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool) {
	micro1(k, a, rs, cs, b, bs, c, ldc, load)
	micro1(k, a[rs:], rs, cs, b, bs, c[ldc:], ldc, load)
}

func micro3(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool) {
	micro2(k, a, rs, cs, b, bs, c, ldc, load)
	micro1(k, a[2*rs:], rs, cs, b, bs, c[2*ldc:], ldc, load)
}

// packTransGo writes panels of w columns from the transpose of src: dst[p*w+i] = src[i*ld+p] for i < rows, 0 up to w.
func packTransGo(dst []float32, w int, src []float32, ld, rows, k int) {
	if rows < w {
		clear(dst[:k*w])
	}
	for i := range rows {
		s := src[i*ld : i*ld+k]
		for p, v := range s {
			dst[p*w+i] = v
		}
	}
}

// packCopyGo writes panels of w columns: dst[p*w+j] = src[p*ld+j] for j < cols, 0 up to w.
func packCopyGo(dst []float32, w int, src []float32, ld, cols, k int) {
	for p := range k {
		d := dst[p*w : p*w+w]
		copy(d, src[p*ld:p*ld+cols])
		clear(d[cols:])
	}
}
