package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/triarch-ai/triarch/cli/ui"
	"github.com/triarch-ai/triarch/internal/fault"
)

// simRun runs a command line in a folder with a trace, a fleet and openb lists.
func simRun(t *testing.T, line string) (out, errs string, dir string, err error) {
	t.Helper()
	dir = t.TempDir()
	var jobs strings.Builder
	jobs.WriteString("job,submit,duration,chips\n")
	for i := range 50 {
		fmt.Fprintf(&jobs, "j%d,%d,%d,%d\n", i, i*10, 100+i%7*50, 1+i%3)
	}
	for name, text := range map[string]string{
		"jobs.csv": jobs.String(), "bad.csv": jobs.String() + "late,0,-5,1\n",
		"fleet.yaml": "chips: [{name: x, price: 1}]\nsites: [{name: s}]\nnodes: [{name: n, in: s, chip: x, chips: 4}]\n",
		"nodes.csv":  "sn,cpu_milli,memory_mib,gpu,model\nn1,64000,262144,2,P100\n",
		"pods.csv":   "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\np1,1000,1000,1,1000,\np2,1000,1000,1,500,\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var b, e bytes.Buffer
	args := strings.Fields(strings.ReplaceAll(line, "@", dir+"/"))
	at := time.Unix(0, 0)
	screen := &ui.Screen{Out: &b, Err: &e, In: strings.NewReader(""), Width: 80, JSON: wantsJSON(args), Now: func() time.Time { at = at.Add(2 * time.Second); return at }}
	root := newRoot(screen)
	root.SetArgs(args)
	root.SetOut(io.Discard)
	err = root.Execute()
	return b.String(), e.String(), dir, err
}

func TestSimQueueKeepsItsPromises(t *testing.T) {
	out, errs, dir, err := simRun(t, "sim queue --trace @jobs.csv --nodes 2 --chips-per-node 4 --policy srsf --html @page.html -o json")
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	for _, name := range []string{"mean_completion_s", "mean_queue_s", "p99_queue_s", "jobs", "decisions_per_s"} {
		if _, ok := got[name].(float64); !ok {
			t.Errorf("%s is %v", name, got[name])
		}
	}
	if got["jobs"] != 50. || got["policy"] != "srsf" {
		t.Errorf("%v", got)
	}
	// Progress goes to the error stream in plain lines, and never into the JSON.
	if !strings.Contains(errs, "srsf 100% 50 of 50 jobs") || strings.Contains(errs, "\r") {
		t.Errorf("progress: %q", errs)
	}
	page, err := os.ReadFile(filepath.Join(dir, "page.html"))
	if err != nil || !bytes.Contains(page, []byte("</svg>")) {
		t.Errorf("page: %v", err)
	}
}

func TestSimQueueComparesInATable(t *testing.T) {
	out, _, _, err := simRun(t, "sim queue --trace @bad.csv --skip-bad --fleet @fleet.yaml --policy fifo,srtf --policy drf")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"FIFO", "SRTF", "DRF", "completion, mean", "1 of 51 rows were left out", "line 52, duration", "50 jobs over"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	out, _, _, err = simRun(t, "sim queue --trace @jobs.csv --fleet @fleet.yaml --policy fifo,srtf -o json")
	var got struct {
		Runs []struct {
			Policy string
			Jobs   int
		}
	}
	if e := json.Unmarshal([]byte(out), &got); err != nil || e != nil || len(got.Runs) != 2 || got.Runs[1].Policy != "srtf" || got.Runs[1].Jobs != 50 {
		t.Errorf("%v, %v: %s", err, e, out)
	}
}

func TestSimQueueSaysWhatIsWrong(t *testing.T) {
	for line, want := range map[string]string{
		"sim queue --trace @bad.csv --fleet @fleet.yaml --policy fifo":                   "bad.csv line 52, duration: \"-5\" is negative",
		"sim queue --trace @jobs.csv --fleet @fleet.yaml --policy fifi":                  "nearest is \"fifo\"",
		"sim queue --trace @jobs.csv --nodes 0 --policy fifo":                            "No fleet",
		"sim queue --trace @jobs.csv --fleet @fleet.yaml --policy fifo --measure 9:3":    "not FROM:TO",
		"sim queue --trace @jobs.csv --fleet @fleet.yaml --policy fifo --measure 1:3x":   "not FROM:TO",
		"sim queue --trace @jobs.csv --fleet @fleet.yaml --policy fifo --html @no/x":     "cannot be written",
		"sim queue --trace @fleet.yaml --fleet @fleet.yaml --policy fifo":                "no known form",
		"sim queue --trace @nodes.csv --fleet @fleet.yaml --policy fifo":                 "list of nodes",
		"sim pack --nodes @nodes.csv --pods @pods.csv --policy nearest":                  "nearest",
		"sim queue --trace @pods.csv --fleet @nodes.csv --policy fifo":                   "sim pack",
		"sim queue --trace @jobs.csv --fleet @fleet.yaml --policy triarch:4":             "no knowledge of the kind \"4\"",
		"sim queue --trace @jobs.csv --fleet @fleet.yaml --policy fifo:4":                "nothing to set behind a colon",
		"sim queue --trace @jobs.csv --fleet @fleet.yaml --policy triarch:learn":         "no table of throughputs",
		"sim queue --trace @jobs.csv --fleet @fleet.yaml --policy fifo --hide 1.5":       "hide is 1.5",
		"sim queue --trace @jobs.csv --fleet @fleet.yaml --policy las:x":                 "no threshold",
		"sim queue --trace @jobs.csv --fleet @fleet.yaml --policy fifo --checkpoint -1m": "checkpoint is -1m0s",
		"sim pack --nodes @no.csv --pods @pods.csv --policy fgd":                         "no.csv cannot be opened",
	} {
		if _, _, _, err := simRun(t, line); err == nil || !strings.Contains(err.Error(), want) || fault.KindOf(err) == fault.Internal {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// What cannot be written, or is missing on the command line, is told before the work: as bad input, with nothing left behind.
func TestSimSaysWhatIsMissingFirst(t *testing.T) {
	if _, errs, dir, err := simRun(t, "sim queue --trace @jobs.csv --nodes 2 --policy fifo --html @"); !fault.Is(err, fault.Invalid) || errs != "" {
		t.Errorf("%v after %q in %s", err, errs, dir)
	}
	_, _, dir, err := simRun(t, "sim queue --trace @bad.csv --nodes 2 --policy fifo --html @page.html")
	if left, e := filepath.Glob(dir + "/*.html*"); err == nil || e != nil || len(left) > 0 {
		t.Errorf("%v leaves %v, %v", err, left, e)
	}
	if left, e := filepath.Glob(dir + "/.triarch-*"); e != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, e)
	}
	if _, _, _, err := simRun(t, "sim pack --policy fgd"); report(&ui.Screen{Err: io.Discard}, err) != 2 {
		t.Errorf("without its lists: %v", err)
	}
}

// A word in backquotes in a flag's text stands for its value, so a switch has none.
func TestSwitchesTakeNoValue(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if value, _ := pflag.UnquoteUsage(f); f.Value.Type() == "bool" && value != "" {
				t.Errorf("%s --%s %s", c.CommandPath(), f.Name, value)
			}
		})
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRoot(&ui.Screen{}))
}

func TestSimPackFillsANode(t *testing.T) {
	out, _, _, err := simRun(t, "sim pack --nodes @nodes.csv --pods @pods.csv --policy bestfit --seed 1 --stop 0.7 -o json")
	var got map[string]any
	if e := json.Unmarshal([]byte(out), &got); err != nil || e != nil {
		t.Fatalf("%v, %v: %s", err, e, out)
	}
	if v, ok := got["allocated_percent"].(float64); !ok || v <= 0 || v > 100 {
		t.Errorf("%v", got)
	}
}
