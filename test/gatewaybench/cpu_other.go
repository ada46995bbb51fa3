//go:build !linux

package main

import (
	"errors"
	"time"
)

var errLinux = errors.New("the gateway is measured on Linux only")

// cpuTime needs a per-process clock that other processes can read.
func cpuTime(int) (time.Duration, error) { return 0, errLinux }

func resident(int) (int64, error) { return 0, errLinux }

func manyFiles() error { return errLinux }

func fileLimit() int { return 0 }
