package seen

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/obs"
	"github.com/triarch-ai/triarch/models/guard"
)

// scrape reads metrics as Prometheus does.
func scrape(t *testing.T, m *Metrics) map[string]*dto.MetricFamily {
	t.Helper()
	rec := httptest.NewRecorder()
	obs.Handler(m.Write).ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if rec.Code != 200 {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	p := expfmt.NewTextParser(model.LegacyValidation)
	all, err := p.TextToMetricFamilies(rec.Body)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// value is the sum of the samples of a family that have these labels.
func value(f *dto.MetricFamily, labels ...string) (sum float64) {
	for _, m := range f.GetMetric() {
		have := map[string]string{}
		for _, l := range m.GetLabel() {
			have[l.GetName()] = l.GetValue()
		}
		match := true
		for i := 0; i < len(labels); i += 2 {
			match = match && have[labels[i]] == labels[i+1]
		}
		if match {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

func TestMetricsCountWhatWasServed(t *testing.T) {
	m := NewMetrics()
	r := newRig(t, &Watch{Metrics: m})
	r.route("two", "dead", "alive")
	var all sync.WaitGroup
	for range 4 { // many cores, one count
		all.Go(func() {
			for range 5 {
				if _, err := r.ask(plain); err != nil {
					t.Error(err)
				}
				_, _ = r.ask(stream)
			}
		})
	}
	all.Wait()
	for range 4 {
		_, _ = r.ask(strings.Replace(plain, `"m"`, `"two"`, 1))
	}
	_, _ = r.ask(strings.Replace(plain, `"m"`, `"nothing"`, 1))
	m.Refused(fault.New(fault.Unauthenticated, "who?", fault.Code("key_unknown")))
	got := scrape(t, m)
	for _, c := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{"triarch_gateway_requests_total", []string{"route", "m", "dialect", "openai-chat", "outcome", "finished", "status", "200"}, 40},
		{"triarch_gateway_requests_total", []string{"route", "two", "outcome", "finished"}, 4},
		{"triarch_gateway_requests_total", []string{"route", "", "outcome", "refused", "status", "404"}, 1},
		{"triarch_gateway_refusals_total", []string{"reason", "model_not_found"}, 1},
		{"triarch_gateway_refusals_total", []string{"reason", "key_unknown"}, 1},
		{"triarch_gateway_tokens_total", []string{"route", "m", "kind", "input"}, 20*5 + 20*9},
		{"triarch_gateway_tokens_total", []string{"route", "m", "kind", "cached"}, 20 * 3},
		{"triarch_gateway_tokens_total", []string{"route", "m", "kind", "output"}, 20*2 + 20*4},
		{"triarch_gateway_tokens_total", []string{"route", "m", "kind", "reasoning"}, 20 * 2},
		{"triarch_gateway_goodput_tokens_total", []string{"route", "m"}, 20*7 + 20*13},
		{"triarch_gateway_charged_microunits_total", []string{"route", "m"}, 20*9 + 20*17},
		{"triarch_gateway_time_to_first_token_seconds", []string{"route", "m"}, 40},
		{"triarch_gateway_inter_token_latency_seconds", []string{"route", "m"}, 20},
		{"triarch_gateway_queue_wait_seconds", []string{"route", "m"}, 40},
		{"triarch_gateway_request_duration_seconds", []string{"route", ""}, 1},
		{"triarch_gateway_requests_running", nil, 0},
	} {
		if v := value(got[c.name], c.labels...); v != c.want {
			t.Errorf("%s%v is %v, want %v", c.name, c.labels, v, c.want)
		}
	}
	if v := value(got["triarch_gateway_retries_total"], "route", "two"); v < 1 {
		t.Errorf("%v retries", v)
	}
	if v := value(got["triarch_gateway_prefix_hit_ratio"], "route", "m"); v < 0.21 || v > 0.22 {
		t.Errorf("prefix hits: %v", v)
	}
}

// Names follow the conventions of Prometheus, and no label names a key, a project or a request.
func TestNamesFollowTheConventions(t *testing.T) {
	m := NewMetrics()
	r := newRig(t, &Watch{Metrics: m})
	_, _ = r.ask(stream)
	good := regexp.MustCompile(`^triarch_[a-z]+(_[a-z]+)+$`)
	labels := map[string]bool{"route": true, "dialect": true, "outcome": true, "status": true, "reason": true, "kind": true}
	for name, f := range scrape(t, m) {
		if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") {
			continue
		}
		if !good.MatchString(name) || f.GetHelp() == "" {
			t.Errorf("%s: %q", name, f.GetHelp())
		}
		if counter := f.GetType() == dto.MetricType_COUNTER; counter != strings.HasSuffix(name, "_total") {
			t.Errorf("%s is a %s", name, f.GetType())
		}
		if f.GetType() == dto.MetricType_HISTOGRAM && !strings.HasSuffix(name, "_seconds") {
			t.Errorf("%s is a histogram", name)
		}
		for _, x := range f.GetMetric() {
			for _, l := range x.GetLabel() {
				if !labels[l.GetName()] {
					t.Errorf("%s has the label %s", name, l.GetName())
				}
				for _, id := range []string{r.who.KeyID, r.who.ProjectID, r.who.OrgID} {
					if strings.Contains(l.GetValue(), id) {
						t.Errorf("%s names %s", name, id)
					}
				}
			}
		}
	}
}

func TestLabelsAreBounded(t *testing.T) {
	m := NewMetrics()
	r := newRig(t, &Watch{Metrics: m})
	const many = maxRoutes + 30
	for i := range many {
		name := fmt.Sprintf("r%d", i)
		r.route(name, "alive")
		_, _ = r.ask(strings.Replace(plain, `"m"`, `"`+name+`"`, 1))
		m.Refused(fault.New(fault.Invalid, "no", fault.Code(name)))
	}
	got := scrape(t, m)
	if n := len(got["triarch_gateway_goodput_tokens_total"].GetMetric()); n > maxRoutes+1 {
		t.Errorf("%d routes are told apart", n)
	}
	if n := len(got["triarch_gateway_refusals_total"].GetMetric()); n > maxReasons+1 {
		t.Errorf("%d reasons are told apart", n)
	}
	if v := value(got["triarch_gateway_requests_total"]); v != many {
		t.Errorf("%v of %d requests are counted", v, many)
	}
	if v := value(got["triarch_gateway_requests_total"], "route", other); v < 25 {
		t.Errorf("%v are of other routes", v)
	}
}

// What the hot path does to count allocates nothing.
func TestCountingAllocatesNothing(t *testing.T) {
	m := NewMetrics()
	with, without := newRig(t, &Watch{Metrics: m}), newRig(t, nil)
	for _, body := range []string{plain, stream} {
		ask := func(r *rig) func() { return func() { _, _ = r.ask(body) } }
		ask(with)()
		if a, b := testing.AllocsPerRun(200, ask(with)), testing.AllocsPerRun(200, ask(without)); a > b {
			t.Errorf("%v allocations, %v without metrics", a, b)
		}
	}
}

func BenchmarkWatch(b *testing.B) {
	for _, c := range []struct {
		name string
		w    *Watch
	}{{"none", nil}, {"metrics", &Watch{Metrics: NewMetrics()}}, {"metrics and a trace in 100", &Watch{Metrics: NewMetrics(), Traces: &Tracer{Rate: 0.01, Rand: rand.Uint64, Exporter: &Exporter{}}}}} {
		b.Run(c.name, func(b *testing.B) {
			r := newRig(b, nil)
			if c.w != nil {
				r.Watch = c.w
			}
			b.ReportAllocs()
			for b.Loop() {
				r.echo.asked = r.echo.asked[:0]
				if _, err := r.ask(plain); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What guards say is counted by route, moment and verdict.
func TestMetricsCountJudgements(t *testing.T) {
	m := NewMetrics()
	r := newRig(t, &Watch{Metrics: m})
	outside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		switch {
		case strings.Contains(string(body), "wicked"):
			_, _ = w.Write([]byte(`{"verdict":"refuse"}`))
		case strings.Contains(string(body), "broken"):
			_, _ = w.Write([]byte(`what?`))
		default:
			_, _ = w.Write([]byte(`{"verdict":"allow"}`))
		}
	}))
	defer outside.Close()
	r.Guards = &guard.Client{}
	r.routes["m"].Route.Policy.Guard = guard.Policy{URL: outside.URL, Private: true, Before: true, After: true}
	for text, ok := range map[string]bool{"fine": true, "wicked": false, "broken": false} {
		if _, err := r.ask(`{"model":"m","messages":[{"role":"user","content":"` + text + `"}]}`); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
	got := scrape(t, m)
	for labels, want := range map[[4]string]float64{{"when", "before", "verdict", "allow"}: 1, {"when", "after", "verdict", "allow"}: 1,
		{"when", "before", "verdict", "refuse"}: 1, {"when", "before", "verdict", "none"}: 1} {
		if n := value(got["triarch_gateway_guard_judgements_total"], append([]string{"route", "m"}, labels[:]...)...); n != want {
			t.Errorf("%v: %v, want %v", labels, n, want)
		}
	}
}
