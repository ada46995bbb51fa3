package queue

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/triarch-ai/triarch/compute/sched/sim/report"
	"github.com/triarch-ai/triarch/internal/fault"
)

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// clock moves on by a second at each look.
func clock() func() time.Time {
	at := time.Unix(0, 0)
	return func() time.Time { at = at.Add(time.Second); return at }
}

func jobsFile(t *testing.T) string {
	var b strings.Builder
	b.WriteString("cluster,job_id,submit_time,duration,num_gpu\n")
	for i := range 200 {
		fmt.Fprintf(&b, "c%d,j%d,%d,%d,%d\n", i%2, i, i*60, 100+i*37%3000, 1<<(i%4))
	}
	return file(t, "jobs.csv", b.String())
}

const fleetText = `chips: [{name: x, price: 3.6}]
sites: [{name: a, clusters: [c0]}, {name: b, clusters: [c1]}]
nodes: [{name: "a{}", count: 2, in: a, chip: x, chips: 8}, {name: b, in: b, chip: x, chips: 8}]
queues: []
`

func run(t *testing.T, o Options) *Output {
	t.Helper()
	o.Clock = clock()
	out, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRunComparesPolicies(t *testing.T) {
	o := Options{Trace: jobsFile(t), Fleet: file(t, "fleet.yaml", fleetText), Policies: Policies()}
	out := run(t, o)
	if len(out.Runs) != len(Policies()) || !strings.HasPrefix(out.About, "200 jobs over 0.1 days,") || !strings.HasSuffix(out.About, "fleet of 3 nodes with 24 chips at 2 sites") {
		t.Fatalf("%d runs: %s", len(out.Runs), out.About)
	}
	by := map[string]*report.Summary{}
	for _, r := range out.Runs {
		by[r.Policy] = r
		if r.Jobs != 200 || len(r.Sites) != 2 || r.Sites[0].Jobs != 100 || r.Cost <= 0 || r.WallS != 1 || r.DecisionsPerS != float64(r.Decisions) {
			t.Errorf("%s: %+v", r.Policy, r)
		}
	}
	// Foresight helps: less waiting than first in first out, in this order.
	for _, pair := range [][2]string{{"fifo-backfill", "fifo"}, {"sjf", "fifo"}, {"sjf-backfill", "fifo-backfill"}, {"srsf", "sjf-backfill"}} {
		if a, b := by[pair[0]], by[pair[1]]; a.MeanCompletionS >= b.MeanCompletionS {
			t.Errorf("%s has mean completion %.0f s, %s %.0f s", pair[0], a.MeanCompletionS, pair[1], b.MeanCompletionS)
		}
	}
	if !strings.HasPrefix(by["las"].Tuned, "threshold ") {
		t.Errorf("las was tuned to %q", by["las"].Tuned)
	}
	ignore := cmpopts.IgnoreUnexported(report.Summary{})
	if diff := cmp.Diff(out.Runs, run(t, o).Runs, ignore); diff != "" {
		t.Errorf("the same options gave other figures: %s", diff)
	}
}

func TestRunResamplesWithALoad(t *testing.T) {
	o := Options{Trace: jobsFile(t), Nodes: 4, Chips: 8, Policies: []string{"fifo-backfill"}, Jobs: 3000, Seed: 5}
	for _, load := range []float64{0, 0.4} {
		o.Load = load
		r := run(t, o).Runs[0]
		want := 100 * load
		if load == 0 {
			want = 85
		}
		if r.Jobs != 3000 || r.AllocatedPercent < want-6 || r.AllocatedPercent > want+6 {
			t.Errorf("load %g: %d jobs, %.1f %% allocated", load, r.Jobs, r.AllocatedPercent)
		}
	}
}

const rates = "worker_type,job_type,scale_factor,other_job,iters_per_s\nk80,A,1,,1\np100,A,1,,2\nv100,A,1,,10\nk80,B,1,,4\np100,B,1,,2\nv100,B,1,,8\n"

func TestRunDrawsGavelsSetting(t *testing.T) {
	out := run(t, Options{Throughputs: file(t, "t.csv", rates), Policies: []string{"gavel", "fifo-backfill"}, Jobs: 400, MeasureFrom: 100, MeasureTo: 300, Load: 0.8})
	if c := out.Capacity; c.Best <= c.Shared || c.Best > 108 || out.Trace.Form != "gavel" {
		t.Errorf("%+v, %+v", c, out.Trace)
	}
	for _, r := range out.Runs {
		if r.Jobs != 200 || r.MeanCompletionS <= 0 {
			t.Errorf("%+v", r)
		}
	}
}

func TestProgressReachesTheEnd(t *testing.T) {
	o := Options{Trace: jobsFile(t), Nodes: 3, Chips: 8, Policies: []string{"fifo", "srtf"}, Clock: clock()}
	last := map[string]int{}
	o.Progress = func(policy string, ended, jobs int, _ time.Duration) {
		if jobs != 200 || ended < last[policy] {
			t.Errorf("%s: %d of %d after %d", policy, ended, jobs, last[policy])
		}
		last[policy] = ended
	}
	if _, err := Run(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"fifo": 200, "srtf": 200}, last); diff != "" {
		t.Error(diff)
	}
}

func TestRunStopsWhenToldTo(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := Run(ctx, Options{Trace: jobsFile(t), Nodes: 3, Chips: 8, Policies: []string{"fifo"}, Clock: clock()})
	if !fault.Is(err, fault.Canceled) {
		t.Error(err)
	}
}

func TestWrongOptionsSayWhatToDo(t *testing.T) {
	trace, fl := jobsFile(t), file(t, "fleet.yaml", fleetText)
	for want, o := range map[string]Options{
		"No trace is given":          {Nodes: 1, Chips: 8, Policies: []string{"fifo"}},
		"No fleet is given":          {Trace: trace, Policies: []string{"fifo"}},
		"Give --fleet or --nodes":    {Trace: trace, Fleet: fl, Nodes: 3, Policies: []string{"fifo"}},
		"No policy is given":         {Trace: trace, Fleet: fl},
		`The nearest is "srsf"`:      {Trace: trace, Fleet: fl, Policies: []string{"fifo", "srfs"}},
		"no threshold for las":       {Trace: trace, Fleet: fl, Policies: []string{"las:x"}},
		"load is -1":                 {Trace: trace, Fleet: fl, Policies: []string{"fifo"}, Load: -1, Jobs: 5},
		"Give --jobs too":            {Trace: trace, Fleet: fl, Policies: []string{"fifo"}, Load: 0.5},
		"jobs is -4":                 {Trace: trace, Fleet: fl, Policies: []string{"fifo"}, Jobs: -4},
		"cannot be opened":           {Trace: trace + "x", Fleet: fl, Policies: []string{"fifo"}},
		"fleetx cannot be opened":    {Trace: trace, Fleet: "fleetx", Policies: []string{"fifo"}},
		"nodes is -3":                {Trace: trace, Nodes: -3, Policies: []string{"fifo"}},
		"measured jobs 3 to 900":     {Trace: trace, Fleet: fl, Policies: []string{"fifo"}, MeasureFrom: 3, MeasureTo: 900},
		"no chip \"x\"":              {Trace: trace, Fleet: fl, Policies: []string{"fifo"}, Throughputs: file(t, "t.csv", rates)},
		"No site of the fleet takes": {Trace: file(t, "other.csv", "cluster,job_id,submit_time,duration,num_gpu\nc9,a,1,1,1\n"), Fleet: fl, Policies: []string{"fifo"}},
	} {
		o.Clock = clock()
		if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), want) || fault.KindOf(err) == fault.Internal {
			t.Errorf("want %s: %v", want, err)
		}
	}
}

// throughputsFile is two types on the chips of Gavel's fleet, of which one is as fast everywhere.
func throughputsFile(t *testing.T) string {
	var b strings.Builder
	b.WriteString("worker_type,job_type,scale_factor,other_job,other_sf,iters_per_s,other_iters_per_s\n")
	for i, chip := range []string{"k80", "p100", "v100"} {
		fmt.Fprintf(&b, "%s,dense (1),1,,,%d,\n%s,sparse (1),1,,,7,\n", chip, 1<<(2*i), chip)
	}
	return file(t, "throughputs.csv", b.String())
}

// Policies that know less than the table stand beside those that know all of it, with what they learnt.
func TestRunWithHiddenThroughputs(t *testing.T) {
	out := run(t, Options{Throughputs: throughputsFile(t), Policies: []string{"triarch", "triarch:learn", "triarch:prior", "triarch:alike", "gavel:learn"}, Jobs: 300, Hide: 0.5, Seed: 3})
	if len(out.Runs) != 5 || out.Runs[0].Learning != nil {
		t.Fatalf("%+v", out.Runs)
	}
	for i, want := range []struct {
		hidden int
		learns bool
	}{{3, true}, {3, false}, {6, false}, {3, true}} {
		r := out.Runs[i+1]
		l := r.Learning
		if l == nil || l.Entries != 6 || l.Hidden != want.hidden || (l.Observations > 0) != want.learns {
			t.Errorf("%s: %+v", r.Policy, l)
			continue
		}
		first, last := l.Error[0].Hidden, l.Error[len(l.Error)-1].Hidden
		if want.learns != (last < first/2) {
			t.Errorf("%s: the error was %g and is %g", r.Policy, first, last)
		}
	}
}

func TestRunRefusesKnowledgeThatIsNot(t *testing.T) {
	for _, o := range []Options{{Policies: []string{"triarch:all"}}, {Policies: []string{"gavel:"}}, {Policies: []string{"srsf:learn"}}, {Policies: []string{"fifo"}, Hide: -1},
		{Policies: []string{"fifo"}, Noise: 2}, {Policies: []string{"fifo"}, Optimism: 11}} {
		o.Throughputs, o.Clock = throughputsFile(t), clock()
		if _, err := Run(context.Background(), o); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// Under several seeds the runs of the first are those of a run under it alone, and the spread is of all.
func TestRunUnderSeveralSeeds(t *testing.T) {
	o := Options{Throughputs: throughputsFile(t), Policies: []string{"triarch", "triarch:alike"}, Jobs: 100, Hide: 0.5, Seed: 7}
	one := run(t, o)
	o.Seeds = 3
	all := run(t, o)
	if len(all.Runs) != 6 || len(all.Spreads) != 2 || all.Spreads[1].Seeds != 3 || one.Spreads != nil {
		t.Fatalf("%d runs, %+v", len(all.Runs), all.Spreads)
	}
	for i, r := range one.Runs {
		if r.MeanCompletionS != all.Runs[i].MeanCompletionS || r.MeanCompletionS == all.Runs[i+2].MeanCompletionS {
			t.Errorf("%s: %g alone, %g and %g among others", r.Policy, r.MeanCompletionS, all.Runs[i].MeanCompletionS, all.Runs[i+2].MeanCompletionS)
		}
	}
	o.Seeds = -1
	o.Clock = clock()
	if _, err := Run(context.Background(), o); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
}
