package obs

import (
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Kind is what a family of samples is.
type Kind = prometheus.ValueType

// The kinds of Family; that of Times is known.
const (
	Counter = prometheus.CounterValue
	Gauge   = prometheus.GaugeValue
)

// Writer takes samples for one reading.
type Writer struct {
	out  chan<- prometheus.Metric
	name string
	help string
	kind Kind
}

// Family begins the samples of a name.
func (w *Writer) Family(name string, kind Kind, help string) {
	w.name, w.kind, w.help = name, kind, help
}

// Value is one sample of the family; labels are names and values in turn.
func (w *Writer) Value(v float64, labels ...string) {
	d, values := w.labelled(labels)
	m, err := prometheus.NewConstMetric(d, w.kind, v, values...)
	w.put(d, m, err)
}

// One is a family of one sample without labels.
func (w *Writer) One(name string, kind Kind, help string, v float64) {
	w.Family(name, kind, help)
	w.Value(v)
}

// Times is one histogram of the family, in seconds.
func (w *Writer) Times(b Buckets, s *Sum, labels ...string) {
	d, values := w.labelled(labels)
	rising := make(map[float64]uint64, len(b))
	var n uint64
	for i := range b {
		n += s.Counts[i]
		rising[b[i].Seconds()] = n
	}
	m, err := prometheus.NewConstHistogram(d, n+s.Counts[len(b)], float64(s.Nanos)/1e9, rising, values...)
	w.put(d, m, err)
}

func (w *Writer) labelled(labels []string) (*prometheus.Desc, []string) {
	var names, values []string
	for i := 0; i+1 < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, strings.ToValidUTF8(labels[i+1], "?"))
	}
	return prometheus.NewDesc(w.name, w.help, names, nil), values
}

func (w *Writer) put(d *prometheus.Desc, m prometheus.Metric, err error) {
	if err != nil {
		m = prometheus.NewInvalidMetric(d, err)
	}
	w.out <- m
}

// collector has samples written anew for each reading.
type collector func(*Writer)

// Describe tells nothing: what there is is known when it is read.
func (c collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) { c(&Writer{out: out}) }

// maxReadings is how many readings there are at once; more are refused.
const maxReadings = 4

// Handler answers readings with what write writes, and what the process and its runtime have.
func Handler(write func(*Writer)) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(collector(write), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: maxReadings})
}
