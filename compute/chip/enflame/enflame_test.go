package enflame

import (
	"testing"

	"github.com/triarch-ai/triarch/compute/chip/chiptest"
)

func samples(t testing.TB) []chiptest.Sample {
	return chiptest.Files(t, []chiptest.File{
		{Name: "S60, 1.2.0", File: "s60-1.2.0.txt", Devices: 2, Heading: 12, Open: true},
		{Name: "L300 and S60G, 1.7.2", File: "l300-1.7.2.txt", Devices: 2, Heading: 11, Open: true},
	})
}

func TestSuite(t *testing.T) { chiptest.Run(t, Driver{}, samples(t)...) }

func FuzzParse(f *testing.F) { chiptest.Fuzz(f, Driver{}, samples(f)...) }
