//go:build !linux

package decode

// adviseHuge does nothing where pages are the system's affair.
func adviseHuge([]float32) {}
