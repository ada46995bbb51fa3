// Package reading has what the drivers of several makes share: boxed tables as the vendors' tools print them, numbers
// with units, and the words that stand where a value would be.
//
// Rules for callers: a table is read by its heading, which must be one that is known word for word; what is cut short,
// translated or of another version is refused and named. Nothing is guessed from where a value stands.
package reading

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/triarch-ai/triarch/compute/chip"
)

// Bounds of what is read.
const (
	MaxDevices  = 1024
	maxLine     = 4096
	maxProblems = 20
)

// Log collects what could not be read.
type Log struct {
	Tool     string
	Problems []string
}

// Add notes a problem; those beyond a bound are dropped.
func (l *Log) Add(format string, args ...any) {
	if len(l.Problems) < maxProblems {
		l.Problems = append(l.Problems, fmt.Sprintf(format, args...))
	}
}

// Begin is the beginning of a text, for messages.
func Begin(s string) string {
	r := []rune(s[:min(len(s), 400)])
	return string(r[:min(len(r), 40)])
}

// Text says whether output is text, and notes it if not.
func (l *Log) Text(output []byte) bool {
	if utf8.Valid(output) {
		return true
	}
	l.Add("the output of %s is not text", l.Tool)
	return false
}

// states are what tools print instead of a value, and what follows from them; the empty ones say that there is none.
var states = map[string]chip.Fault{
	"": {}, "-": {}, "/": {}, "N/A": {}, "NA": {}, "[N/A]": {}, "[Not Supported]": {}, "[Not Found]": {}, "[Insufficient Permissions]": {}, "None": {}, "unknown": {}, "Unknown": {},
	"[GPU requires reset]": {Level: chip.RestartDevice, Code: "reset_needed", Says: "the tool says that the device needs a reset"},
	"[GPU is lost]":        {Level: chip.Remove, Code: "device_lost", Says: "the tool says that the device is lost"},
	"[Unknown Error]":      {Level: chip.Drain, Code: "unreadable", Says: "the tool cannot read the device"},
	"ERR!":                 {Level: chip.Drain, Code: "unreadable", Says: "the tool cannot read the device"},
}

// Told is a text, or nothing where the tool prints a state instead.
func Told(s string) string {
	if _, ok := states[s]; ok {
		return ""
	}
	return s
}

// Number reads a value with its unit, which may be missing or stand apart, times factor; nil where there is none. A state that tells of a fault is added
// to the device, and what is no number is noted.
func Number(d *chip.Device, what, s, unit string, factor float64) *float64 {
	s = strings.TrimSpace(s)
	if f, ok := states[s]; ok {
		if f.Code != "" {
			Fault(d, f)
		}
		return nil
	}
	digits := s
	if unit != "" && len(s) > len(unit) && strings.EqualFold(s[len(s)-len(unit):], unit) {
		digits = strings.TrimSpace(s[:len(s)-len(unit)])
	}
	v, err := strconv.ParseFloat(digits, 64)
	if err != nil || strings.ContainsAny(digits, "xX_pP") {
		d.Notes = append(d.Notes, fmt.Sprintf("%s was left out: it is %q", what, Begin(s)))
		return nil
	}
	v *= factor
	return &v
}

// Fault adds a fault to a device, unless one of its code is there already.
func Fault(d *chip.Device, f chip.Fault) {
	for _, have := range d.Faults {
		if have.Code == f.Code {
			return
		}
	}
	d.Faults = append(d.Faults, f)
}

// Uncorrected is the fault of memory errors that could not be corrected.
func Uncorrected(n float64) chip.Fault {
	return chip.Fault{Level: chip.RestartTask, Code: "memory_uncorrected", Says: fmt.Sprintf("%g memory errors since its driver was loaded could not be corrected", n)}
}
