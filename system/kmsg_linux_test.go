package system

import (
	"testing"

	"github.com/triarch-ai/triarch/compute/health"
)

func TestRecordsOfTheKernelsLog(t *testing.T) {
	for text, want := range map[string]health.Line{
		"3,1789,4294967295,-;NVRM: Xid (PCI:0000:2b:00): 79, x\n SUBSYSTEM=pci\n": {Number: 1789, Text: "NVRM: Xid (PCI:0000:2b:00): 79, x"},
		"6,0,1,c,more;text": {Number: 0, Text: "text"},
		"6,1,2,-;a;b\xff":   {Number: 1, Text: "a;b"},
		"nonsense":          {},
		"6,-1,2,-;x":        {},
		"11,7,2,-;NVRM: Xid (PCI:0000:2b:00): 79, a program wrote it": {}, // of the facility user
		"6,99999999999999999999,2,-;x":                                {},
		"":                                                            {},
	} {
		got, ok := record([]byte(text))
		if got != want || ok != (want.Text != "") {
			t.Errorf("%q: %+v %v", text, got, ok)
		}
	}
	kernelLog() // whether it may be read or not
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte("6,1,2,-;text\n"))
	f.Fuzz(func(t *testing.T, b []byte) { record(b) })
}
