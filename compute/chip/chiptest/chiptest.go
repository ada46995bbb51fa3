// Package chiptest is the suite that every driver of compute/chip passes: its samples read whole, and everything that a
// broken tool may print instead survived without a guess.
//
// Rules for callers: give real recorded output; the suite makes the broken ones of it.
package chiptest

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/compute/chip"
)

// Sample is recorded output of a tool and what it tells of.
type Sample struct {
	Name    string
	Output  []byte
	Devices int
	Heading int  // lines before the first device; 0: one. Output that is JSON has none
	Open    bool // the tool prints nothing after its last device: output that ends between two is not seen to be cut
}

// parts is the lines before the first device, and the rest.
func (s *Sample) parts() (head, rest []byte) {
	if s.json() {
		return nil, s.Output
	}
	at := 0
	for range max(1, s.Heading) {
		at += bytes.IndexByte(s.Output[at:], '\n') + 1
	}
	return s.Output[:at], s.Output[at:]
}

func (s *Sample) json() bool { return bytes.Contains(s.Output, []byte("{")) }

// File is a sample in the folder testdata of a driver, by its fields.
type File struct {
	Name, File       string
	Devices, Heading int
	Open             bool
}

// Files reads samples.
func Files(t testing.TB, files []File) (samples []Sample) {
	for _, f := range files {
		text, err := os.ReadFile("testdata/" + f.File)
		if err != nil {
			t.Fatal(err)
		}
		samples = append(samples, Sample{Name: f.Name, Output: text, Devices: f.Devices, Heading: f.Heading, Open: f.Open})
	}
	return samples
}

// Run puts a driver through the suite.
func Run(t *testing.T, d chip.Driver, samples ...Sample) {
	if d.Make() == "" || len(d.Command()) == 0 || len(d.Tried()) < 20 {
		t.Error("a driver names its make, its tool and what it was tried on")
	}
	if len(samples) == 0 {
		t.Fatal("a driver without recorded output must not exist")
	}
	for _, s := range samples {
		t.Run(s.Name, func(t *testing.T) {
			whole, problems := d.Parse(s.Output)
			if len(whole) != s.Devices || len(problems) > 0 {
				t.Fatalf("%d devices, want %d; %v", len(whole), s.Devices, problems)
			}
			sane(t, whole)
			t.Run("cut short", func(t *testing.T) { cut(t, d, &s, whole) })
			t.Run("translated", func(t *testing.T) { translated(t, d, &s) })
			t.Run("lying", func(t *testing.T) { lying(t, d, &s) })
			t.Run("twice", func(t *testing.T) { twice(t, d, &s, whole) })
		})
	}
	t.Run("garbage", func(t *testing.T) { garbage(t, d) })
}

// Fuzz looks for output that makes a driver panic or tell what cannot be.
func Fuzz(f *testing.F, d chip.Driver, samples ...Sample) {
	for _, s := range samples {
		f.Add(s.Output)
		f.Add(s.Output[:len(s.Output)/2])
	}
	f.Fuzz(func(t *testing.T, output []byte) {
		devices, problems := d.Parse(output)
		if len(devices) == 0 && len(problems) == 0 {
			t.Error("no device and no word of why")
		}
		sane(t, devices)
	})
}

// sane holds devices against what can be: figures in bounds, ids that differ, lists that are there.
func sane(t *testing.T, devices []chip.Device) {
	t.Helper()
	seen := map[string]bool{}
	for _, d := range devices {
		if d.ID == "" || d.Name == "" || d.Make == "" || seen[d.ID] {
			t.Errorf("a device without a name, or twice: %+v", d)
		}
		seen[d.ID] = true
		again := d
		again.Notes, again.Faults = append([]string{}, d.Notes...), append([]chip.Fault{}, d.Faults...)
		again.Check()
		if diff := cmp.Diff(d, again); diff != "" {
			t.Errorf("figures that cannot be were told:\n%s", diff)
		}
	}
}

// cut ends the output everywhere: devices stay as they are or go, and one that goes is told.
func cut(t *testing.T, d chip.Driver, s *Sample, whole []chip.Device) {
	output := s.Output
	byID := map[string]chip.Device{}
	for _, w := range whole {
		byID[w.ID] = w
	}
	step := max(1, len(output)/1500)
	for n := 0; n < len(output); n += step {
		got, problems := d.Parse(output[:n])
		for _, g := range got {
			if diff := cmp.Diff(byID[g.ID], g); diff != "" {
				t.Fatalf("cut at %d, a device changed:\n%s", n, diff)
			}
		}
		if len(got) < len(whole) && len(problems) == 0 && !(s.Open && len(got) > 0) {
			t.Fatalf("cut at %d, %d devices are gone without a word", n, len(whole)-len(got))
		}
	}
}

// translated has the heading, or the keys of JSON, in another language, as a tool in another locale would print it.
func translated(t *testing.T, d chip.Driver, s *Sample) {
	head, rest := s.parts()
	word := regexp.MustCompile(`[A-Za-z_.]{3,}`)
	for name, by := range map[string]string{"Chinese": "设备名称", "German": "Gerätename"} {
		text := append(word.ReplaceAll(head, []byte(by)), rest...)
		if s.json() {
			text = regexp.MustCompile(`"[^"]*"(\s*:)`).ReplaceAll(rest, []byte(`"`+by+`"$1`))
		}
		if devices, problems := d.Parse(text); len(devices) > 0 || len(problems) == 0 {
			t.Errorf("%s: %d devices were guessed, problems %v", name, len(devices), problems)
		}
	}
}

// lying has every number after the heading say what cannot be, one after the other.
func lying(t *testing.T, d chip.Driver, s *Sample) {
	head, tail := s.parts()
	first, rest := string(head), string(tail)
	number := regexp.MustCompile(`[0-9]+(\.[0-9]+)?`)
	for _, lie := range []string{"-1", "99999999999999999999", "NaN", "Inf", "1e308", "0x7f", "", "[Unknown Error]", "一"} {
		for _, at := range number.FindAllStringIndex(rest, -1) {
			devices, _ := d.Parse([]byte(first + rest[:at[0]] + lie + rest[at[1]:]))
			sane(t, devices)
		}
	}
}

// twice has what comes after the heading twice: no device is told twice, and the repetition is told.
func twice(t *testing.T, d chip.Driver, s *Sample, whole []chip.Device) {
	_, rest := s.parts()
	got, problems := d.Parse(append(append([]byte{}, s.Output...), rest...))
	if len(got) != len(whole) || len(problems) == 0 {
		t.Errorf("%d devices of %d, problems %v", len(got), len(whole), problems)
	}
}

// garbage is what has nothing to do with the tool.
func garbage(t *testing.T, d chip.Driver) {
	for i, text := range []string{
		"", "\n", "\x00\x01\x02", "\xff\xfe\xfa", "<html><body>502</body></html>", `{"devices": []}`, strings.Repeat(",", 1<<16), strings.Repeat("\"", 999),
		strings.Repeat("a,b\n", 5000), strings.Repeat("x", 1<<20), "command not found\n", "No devices were found\n", "驱动程序未加载\n",
	} {
		devices, problems := d.Parse([]byte(text))
		if len(devices) > 0 || len(problems) == 0 || len(strings.Join(problems, "")) > 4000 {
			t.Errorf("%s: %d devices, problems %.200v", fmt.Sprintf("garbage %d", i), len(devices), problems)
		}
	}
}
