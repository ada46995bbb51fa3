package hygon

import (
	"testing"

	"github.com/triarch-ai/triarch/compute/chip/chiptest"
)

func samples(t testing.TB) []chiptest.Sample {
	return chiptest.Files(t, []chiptest.File{
		{Name: "Z100, DTK 23.10", File: "z100-dtk23.10.txt", Devices: 4, Heading: 3},
		{Name: "BW1000, DTK 26.04", File: "bw1000-dtk26.04.txt", Devices: 2, Heading: 4},
	})
}

func TestSuite(t *testing.T) { chiptest.Run(t, Driver{}, samples(t)...) }

func FuzzParse(f *testing.F) { chiptest.Fuzz(f, Driver{}, samples(f)...) }
