package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/triarch-ai/triarch/cli/ui"
	"github.com/triarch-ai/triarch/internal/fault"
)

// chipRun runs a chip command over a data directory with an operator's file, and no server anywhere.
func chipRun(t *testing.T, overlay string, args ...string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	if overlay != "" {
		if err := os.WriteFile(filepath.Join(dir, "chips.yaml"), []byte(overlay), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	root := newRoot(&ui.Screen{Out: &out, Err: &out, In: strings.NewReader(""), Width: 80, JSON: wantsJSON(args)})
	root.SetArgs(append(args, "--data", dir))
	err := root.Execute()
	return out.String(), err
}

func TestChipShowTellsWhoSaysSo(t *testing.T) {
	out, err := chipRun(t, "sources: {bench: {at: our bench, confidence: measured}}\nchips: [{id: nvidia-h100-sxm, bandwidth: {is: 3.1 TB/s, source: bench}, power: null}]", "chip", "show", "H100")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"nvidia-h100-sxm  NVIDIA H100 SXM5", "3.1 TB/s", "measured", "our bench", "900 GB/s both ways together", "1979 TOP/s", "nvidia.com/gpu", "lacks       fp4 (https://", "unknown     power"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if out, err = chipRun(t, "", "chip", "show", "h100", "-o", "json"); err != nil || !strings.Contains(out, `"fp4": null`) {
		t.Errorf("%v %s", err, out)
	}
}

func TestChipLsOfAMake(t *testing.T) {
	out, err := chipRun(t, "", "chip", "ls", "--make", "moore threads", "-o", "json")
	var got []map[string]any
	if err != nil || json.Unmarshal([]byte(out), &got) != nil || len(got) != 2 || got[1]["memory"] != nil {
		t.Errorf("%v %s", err, out)
	}
	if out, err = chipRun(t, "", "chip", "ls", "-o", "csv"); err != nil || !strings.Contains(out, "nvidia-t4,NVIDIA,16 GB,320 GB/s,,65.13 TFLOP/s,") {
		t.Errorf("%v %s", err, out)
	}
}

func TestChipNamesWhatIsWrong(t *testing.T) {
	for want, args := range map[string][]string{"nearest name is mi300x": {"show", "mi30x"}, "nearest is NVIDIA": {"ls", "--make", "nvidea"}} {
		_, err := chipRun(t, "", append([]string{"chip"}, args...)...)
		if !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", args, err)
		}
	}
	if _, err := chipRun(t, "chips: [{id: nvidia-t4, memory: {is: -1 GB}}]", "chip", "ls"); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "nvidia-t4, memory") {
		t.Error(err)
	}
	if _, err := chipRun(t, "", "chip", "ls", "--chips", "/nowhere/chips.yaml"); err == nil {
		t.Error("a named file that is not there")
	}
}

func TestChipScanTellsOfTheProcessor(t *testing.T) {
	out, err := chipRun(t, "", "chip", "scan", "-o", "json")
	var got struct {
		Devices []struct {
			Chip      string
			Cores     int
			Bandwidth *struct{ Confidence string }
		}
	}
	if err != nil || json.Unmarshal([]byte(out), &got) != nil || len(got.Devices) == 0 || got.Devices[0].Chip != "cpu" || got.Devices[0].Cores < 1 || got.Devices[0].Bandwidth == nil || got.Devices[0].Bandwidth.Confidence != "measured" {
		t.Errorf("%v %s", err, out)
	}
	if out, err = chipRun(t, "", "chip", "scan"); err != nil || !strings.Contains(out, "cpu") {
		t.Errorf("%v %s", err, out)
	}
}
