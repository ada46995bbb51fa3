package gaudi

import (
	"testing"

	"github.com/triarch-ai/triarch/compute/chip/chiptest"
)

func samples(t testing.TB) []chiptest.Sample {
	return chiptest.Files(t, []chiptest.File{
		{Name: "HL-225, 1.22.1", File: "hl-225-1.22.1.txt", Devices: 2, Heading: 8},
		{Name: "HL-225, 1.18.0", File: "hl-225-1.18.0.txt", Devices: 2, Heading: 7},
	})
}

func TestSuite(t *testing.T) { chiptest.Run(t, Driver{}, samples(t)...) }

func FuzzParse(f *testing.F) { chiptest.Fuzz(f, Driver{}, samples(f)...) }
