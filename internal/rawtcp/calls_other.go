//go:build !linux

package rawtcp

// calls are announced on this system.
type calls struct{}

func (c *Conn) init() {}
