package metax

import (
	"testing"

	"github.com/triarch-ai/triarch/compute/chip/chiptest"
)

func samples(t testing.TB) []chiptest.Sample {
	return chiptest.Files(t, []chiptest.File{
		{Name: "C500, 2.1.12", File: "c500-2.1.12.txt", Devices: 2, Heading: 12},
		{Name: "C550, 2.1.6", File: "c550-2.1.6.txt", Devices: 1, Heading: 12},
		{Name: "C500, 2.3.1", File: "c500-2.3.1.txt", Devices: 1, Heading: 12},
	})
}

func TestSuite(t *testing.T) { chiptest.Run(t, Driver{}, samples(t)...) }

func FuzzParse(f *testing.F) { chiptest.Fuzz(f, Driver{}, samples(f)...) }
