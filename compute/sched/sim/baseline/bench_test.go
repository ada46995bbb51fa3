package baseline

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/compute/sched/sim"
	"github.com/triarch-ai/triarch/compute/sched/sim/fleet"
	"github.com/triarch-ai/triarch/compute/sched/sim/trace"
)

// busyJobs are n jobs of 1 to 64 chips that ask for 95 % of 1,608 chips on average.
func busyJobs(n int) []trace.Job {
	r := rand.New(rand.NewPCG(1, 1))
	jobs := make([]trace.Job, n)
	at := 0.0
	for i := range jobs {
		chips := 1 << min(6, int(r.ExpFloat64()*1.6))
		duration := int(1 + r.ExpFloat64()*8000)
		jobs[i] = job(fmt.Sprint(i), int(at), duration, chips)
		at += float64(duration*chips) / (0.95 * 1608)
	}
	return jobs
}

// BenchmarkReplay tells jobs a second of whole replays; memory is that of one replay.
func BenchmarkReplay(b *testing.B) {
	f, err := fleet.Uniform(201, 8)
	if err != nil {
		b.Fatal(err)
	}
	jobs := busyJobs(50_000)
	for _, name := range Names() {
		if name == "gavel" {
			continue // measured by the rounds it solves, not by jobs
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			began := time.Now()
			for b.Loop() {
				p, _ := New(name)
				if _, err := sim.Replay(context.Background(), jobs, f, p, sim.Options{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(jobs)*b.N)/time.Since(began).Seconds(), "jobs/s")
		})
	}
}
