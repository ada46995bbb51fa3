package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/compute/sched/sim"
	"github.com/triarch-ai/triarch/compute/sched/sim/belief"
	"github.com/triarch-ai/triarch/compute/sched/sim/fleet"
)

// result is four jobs worked out by hand; the last is outside what is measured.
func result() (*sim.Result, *fleet.Fleet) {
	s := time.Second
	r := &sim.Result{Began: 0, Ended: 200 * s, Actions: 7, Chips: 4, NodeFailures: 1, Refusals: map[string]int{"too <large>": 1},
		Sites:  []sim.Books{{BusySeconds: 300, UpSeconds: 400, FragmentSeconds: 20}, {BusySeconds: 100, UpSeconds: 400, FragmentSeconds: 0}},
		Series: []sim.Sample{{At: 30 * s, Busy: 2, Waiting: 1}, {At: 90 * s, Busy: 4, Waiting: 0.5}},
		Records: []sim.Record{
			{State: sim.Done, Measured: true, Site: 0, Submit: 0, Started: 10 * s, Ended: 110 * s, Duration: 100 * s, P50: 12 * s, P90: 20 * s, Held: 3_600_000, Cost: 1_500_000, Fairness: 1},
			{State: sim.Done, Measured: true, Site: 0, Submit: 10 * s, Started: 10 * s, Ended: 12 * s, Duration: 2 * s, P50: 9 * s, P90: 30 * s, Held: 1_800_000, Fairness: 1},
			{State: sim.Done, Measured: true, Site: 1, Submit: 0, Started: 50 * s, Ended: 100 * s, Duration: 20 * s, P50: 1 * s, P90: 2 * s, Held: 1_800_000, Wasted: 360_000, Preempts: 2, Fails: 1, Fairness: 4},
			{State: sim.Refused, Measured: true, Site: -1},
			{State: sim.Done, Site: 1, Ended: 9999 * s, Held: 1 << 50},
		}}
	return r, &fleet.Fleet{Currency: "EUR", Sites: []fleet.Site{{Name: "north"}, {Name: "south"}}}
}

var close = cmpopts.EquateApprox(0, 1e-9)

func TestFiguresWorkedOutByHand(t *testing.T) {
	r, f := result()
	s := Make("fifo", r, f, 2*time.Second)
	want := &Summary{Policy: "fifo", Jobs: 3, Refused: 1,
		Figures: Figures{MeanCompletionS: 212. / 3, MedianCompletionS: 100, P99CompletionS: 110, MeanQueueS: 30, MedianQueueS: 10, P99QueueS: 80,
			MeanSlowdown: (1.1 + 1 + 5) / 3, MedianSlowdown: 1.1, P99Slowdown: 5, MaxFairness: 4, JainFairness: 36. / (3 * 18)},
		AllocatedPercent: 50, FragmentPercent: 2.5, ChipHours: 2, WastedChipHours: 0.1, Preemptions: 2, Failures: 1, NodeFailures: 1, RestartsPerJob: 1,
		Cost: 1.5, Currency: "EUR", Expected: &Expected{Jobs: 3, P50Percent: 100. / 3, P90Percent: 200. / 3, MeanAbsError: (2 + 1 + 49) / 3., MedianError: 1},
		SpanS: 200, Decisions: 7, DecisionsPerS: 3.5, WallS: 2, Refusals: map[string]int{"too <large>": 1}}
	if diff := cmp.Diff(want, s, close, cmpopts.IgnoreUnexported(Summary{}), cmpopts.IgnoreFields(Summary{}, "Sites")); diff != "" {
		t.Error(diff)
	}
	if n := s.Sites[0]; n.Jobs != 2 || n.MeanCompletionS != 56 || n.AllocatedPercent != 75 || n.FragmentPercent != 5 || n.Name != "north" {
		t.Errorf("%+v", n)
	}
}

// The names that programs read are promised.
func TestPromisedNames(t *testing.T) {
	r, f := result()
	text, err := json.Marshal(Make("fifo", r, f, time.Second))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{"jobs": 3., "mean_completion_s": 212. / 3, "mean_queue_s": 30., "p99_queue_s": 80., "decisions_per_s": 7., "policy": "fifo"} {
		if !cmp.Equal(got[name], want, close) {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
}

func TestQuantileIsTheNearestRank(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 300).Draw(t, "n")
		v := make([]float64, n)
		for i := range v {
			v[i] = float64(i + 1)
		}
		permille := rapid.IntRange(0, 1000).Draw(t, "q")
		got := quantile(v, float64(permille)/1000)
		// Among 1..n the value itself counts how many do not exceed it.
		if got*1000 < float64(permille*n) || got > 1 && (got-1)*1000 >= float64(permille*n) {
			t.Fatalf("quantile %d/1000 of 1..%d is %v", permille, n, got)
		}
	})
}

func TestJainIsBetweenOneAndItsShare(t *testing.T) {
	if jain([]float64{3, 3, 3}) != 1 || jain([]float64{0, 0, 5, 0}) != 0.25 || jain(nil) != 1 {
		t.Error("jain is wrong at its ends")
	}
}

func TestTablesLeaveOutWhatNobodyHas(t *testing.T) {
	r, f := result()
	a, b := Make("fifo", r, f, time.Second), Make("sjf", r, f, time.Second)
	heads, rows := Table([]*Summary{a, b})
	if diff := cmp.Diff([]string{"figure", "fifo", "sjf"}, heads); diff != "" {
		t.Error(diff)
	}
	names := map[string][]string{}
	for _, row := range rows {
		names[row[0]] = row[1:]
	}
	if names["resizes"] != nil || names["tuned"] != nil || names["cost"][0] != "1.50 EUR" || names["started by P90"][1] != "66.7 %" || names["completion, mean"][0] != "71 s" {
		t.Errorf("%v", rows)
	}
	sites := SiteTables([]*Summary{a, b})
	if len(sites) != 3 || !cmp.Equal(sites[0].Rows[1], []string{"south", "1", "100 s", "100 s"}) {
		t.Errorf("%v", sites)
	}
	f.Sites, r.Sites = f.Sites[:1], r.Sites[:1]
	r.Records = r.Records[:2]
	if got := SiteTables([]*Summary{Make("x", r, f, 1)}); got != nil {
		t.Errorf("one site has tables %v", got)
	}
}

// The page stands alone, is well-formed, escapes what it is told, and its curves stay inside their boxes.
func TestPageStandsAlone(t *testing.T) {
	r, f := result()
	var b bytes.Buffer
	if err := Page(&b, "A <b>title</b>", "about & more", []*Summary{Make("fifo", r, f, time.Second), Make(`<script>alert("x")</script>`, r, f, time.Second)}); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, never := range []string{"<script", "http://", "https://", "<link", "<img", "url(", "NaN", "Inf", "%!"} {
		if strings.Contains(page, never) {
			t.Errorf("the page has %q", never)
		}
	}
	svgs := regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(page, -1)
	if len(svgs) != 4 {
		t.Fatalf("%d plots", len(svgs))
	}
	for _, svg := range svgs {
		points := 0
		for d := xml.NewDecoder(strings.NewReader(svg)); ; {
			tok, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%v in %.200s", err, svg)
			}
			if e, ok := tok.(xml.StartElement); ok && e.Name.Local == "polyline" {
				points += inside(t, e.Attr)
			}
		}
		if points < 4 {
			t.Errorf("a plot of %d points", points)
		}
	}
	if !strings.Contains(page, "too &lt;large&gt;") {
		t.Error("the refusal is not told")
	}
}

func inside(t *testing.T, attrs []xml.Attr) int {
	t.Helper()
	n := 0
	for _, a := range attrs {
		if a.Name.Local != "points" {
			continue
		}
		for pair := range strings.FieldsSeq(a.Value) {
			var x, y float64
			xs, ys, _ := strings.Cut(pair, ",")
			for s, v := range map[string]*float64{xs: &x, ys: &y} {
				if err := json.Unmarshal([]byte(s), v); err != nil {
					t.Fatal(err)
				}
			}
			if xs == ys {
				y = x
			}
			if x < left-0.1 || x > plotWidth-right+0.1 || y < top-0.1 || y > plotHeight-bottom+0.1 {
				t.Errorf("the point %s lies outside its plot", pair)
			}
			n++
		}
	}
	return n
}

func TestTicksAreRoundAndFew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.Float64Range(0, 1e6).Draw(t, "from")
		x := axis{from: from, to: from + rapid.Float64Range(0.01, 1e7).Draw(t, "length"), a: 0, b: 1}
		ticks := x.ticks()
		if len(ticks) < 1 || len(ticks) > 8 {
			t.Fatalf("%d ticks from %v to %v", len(ticks), x.from, x.to)
		}
		for _, v := range ticks {
			if at := x.at(v); at < 0 || at > 1 || math.IsNaN(at) {
				t.Fatalf("tick %v at %v", v, at)
			}
		}
	})
}

// By hand: two seeds of three policies.
func TestSpreads(t *testing.T) {
	run := func(policy string, completion float64, errs ...belief.Error) *Summary {
		s := &Summary{Policy: policy, Figures: Figures{MeanCompletionS: completion, P99CompletionS: 2 * completion}, SpanS: 100}
		if len(errs) > 0 {
			s.Learning = &belief.Learning{Error: errs}
		}
		return s
	}
	fell := []belief.Error{{Mean: 0.8}, {AtS: 60, Mean: 0.4}, {AtS: 600, Mean: 0.05}}
	runs := []*Summary{
		run("triarch", 10), run("triarch:learn", 12, fell...), run("triarch:alike", 20, belief.Error{Mean: 0.8}),
		run("triarch", 20), run("triarch:learn", 20, belief.Error{Mean: 0.6}, belief.Error{AtS: 9, Mean: 0.5}), run("triarch:alike", 60, belief.Error{Mean: 0.8}),
	}
	got := Spreads(runs, 3)
	want := Spread{Policy: "triarch:learn", Seeds: 2, Completion: Range{16, 12, 20}, P99: Range{32, 24, 40}, Span: Range{100, 100, 100}, Recovered: &Range{0.9, 0.8, 1},
		Start: &Range{0.7, 0.6, 0.8}, Late: &Range{0.275, 0.05, 0.5}, Half: &Range{60, 60, 60}, Tenth: &Range{600, 600, 600}}
	if diff := cmp.Diff(want, got[1], cmpopts.EquateApprox(0, 1e-12)); diff != "" {
		t.Error(diff)
	}
	if got[0].Recovered != nil || got[0].Start != nil || got[2].Recovered != nil {
		t.Errorf("%+v", got)
	}
	headings, rows := SpreadTable(got)
	if len(headings) != 4 || rows[0][2] != "16 s (12 s to 20 s)" || rows[3][2] != "90 % (80 % to 100 %)" || rows[3][1] != "-" {
		t.Errorf("%v, %v", headings, rows)
	}
}
