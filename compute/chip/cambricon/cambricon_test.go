package cambricon

import (
	"testing"

	"github.com/triarch-ai/triarch/compute/chip/chiptest"
)

func samples(t testing.TB) []chiptest.Sample {
	return chiptest.Files(t, []chiptest.File{
		{Name: "MLU370-X8, 5.10.13", File: "mlu370-x8-5.10.13.txt", Devices: 2, Heading: 7},
		{Name: "MLU370-X4, 4.20.11", File: "mlu370-x4-4.20.11.txt", Devices: 2, Heading: 7},
	})
}

func TestSuite(t *testing.T) { chiptest.Run(t, Driver{}, samples(t)...) }

func FuzzParse(f *testing.F) { chiptest.Fuzz(f, Driver{}, samples(f)...) }
