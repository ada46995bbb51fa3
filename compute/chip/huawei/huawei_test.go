package huawei

import (
	"testing"

	"github.com/triarch-ai/triarch/compute/chip/chiptest"
)

func samples(t testing.TB) []chiptest.Sample {
	return chiptest.Files(t, []chiptest.File{
		{Name: "910B4, 25.2.0", File: "910b4-25.2.0.txt", Devices: 2, Heading: 6},
		{Name: "two chips a card, 26.0", File: "two-chips-26.0.txt", Devices: 4, Heading: 6},
	})
}

func TestSuite(t *testing.T) { chiptest.Run(t, Driver{}, samples(t)...) }

func FuzzParse(f *testing.F) { chiptest.Fuzz(f, Driver{}, samples(f)...) }
