package sched

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
)

// cpuSeconds is the processor time of this process: what a decision costs on a machine that others use too.
func cpuSeconds(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// reportMemory tells what is in use, in MB.
func reportMemory(b *testing.B) {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapAlloc)/1e6, "MB")
}

// sizes are whole-chip sizes as they are common in recorded traces, most often one.
var sizes = []int{1, 1, 1, 1, 1, 2, 2, 4, 8, 8, 16, 32}

// full is a core whose fleet is as full as a queue of long jobs makes it.
func full(b *testing.B, nodes int, queues ...Queue) (*Core, known) {
	long := known{}
	c, err := New(Config{}, fleetOf(nodes, 8, queues...), long, 0)
	if err != nil {
		b.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i, left := 0, nodes*8; left > 0; i++ {
		n := sizes[r.IntN(len(sizes))]
		id := fmt.Sprintf("full%d", i)
		long[id] = int64(60+r.IntN(6000)) * minute
		if err := c.Submit(0, Job{ID: id, Queue: queues[0].Name, Need: Need{Chips: n}}); err != nil {
			b.Fatal(err)
		}
		left -= n
	}
	c.Plan(0)
	return c, long
}

// BenchmarkReclaim is the plan in which a queue takes back a tenth of 50,000 chips.
func BenchmarkReclaim(b *testing.B) {
	for _, nodes := range []int{1000, 6250} {
		b.Run(fmt.Sprint(nodes), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				c, long := full(b, nodes, Queue{Name: "guest"}, Queue{Name: "owner", Guarantee: []Count{{"a", int64(nodes) * 4}}})
				for i := range nodes / 10 {
					id := fmt.Sprintf("owed%d", i)
					long[id] = 600 * minute
					if err := c.Submit(30*minute, Job{ID: id, Queue: "owner", Need: Need{Chips: 8}}); err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
				before, start := c.stats.Preempted, cpuSeconds(b)
				for c.queueAt["owner"].waits > 0 {
					c.Plan(30 * minute)
					if c.stats.Preempted == before {
						break
					}
					before = c.stats.Preempted
				}
				b.StopTimer()
				b.ReportMetric(cpuSeconds(b)-start, "cpu-s")
				b.ReportMetric(float64(c.queueAt["owner"].held[1]/Whole), "reclaimed-chips")
				reportMemory(b)
				runtime.KeepAlive(c)
				b.StartTimer()
			}
		})
	}
}

// crowded is a full fleet of 6,250 nodes and 10,000 jobs that wait.
func crowded(b *testing.B) *Core {
	c, long := full(b, 6250, Queue{Name: "q"})
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 10_000 {
		id := fmt.Sprintf("wait%d", i)
		long[id] = int64(60+r.IntN(6000)) * minute
		if err := c.Submit(minute, Job{ID: id, Queue: "q", Need: Need{Chips: sizes[r.IntN(len(sizes))]}}); err != nil {
			b.Fatal(err)
		}
	}
	c.Plan(minute)
	return c
}

// BenchmarkExplain asks why jobs wait, of 10,000.
func BenchmarkExplain(b *testing.B) {
	c := crowded(b)
	b.ReportAllocs()
	start := cpuSeconds(b)
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		if e, ok := c.Explain(fmt.Sprintf("wait%d", i%10_000)); !ok || e.Reason == "" {
			b.Fatalf("%+v", e)
		}
	}
	b.ReportMetric((cpuSeconds(b)-start)/float64(b.N)*1e6, "cpu-us")
}

// BenchmarkExpect looks ahead for 10,000 jobs that wait.
func BenchmarkExpect(b *testing.B) {
	c := crowded(b)
	start := cpuSeconds(b)
	b.ResetTimer()
	for b.Loop() {
		if n := len(c.Expect(1000 * 24 * 60 * minute)); n < 9000 {
			b.Fatalf("only %d are expected to start", n)
		}
	}
	b.ReportMetric((cpuSeconds(b)-start)/float64(b.N), "cpu-s")
	reportMemory(b)
	runtime.KeepAlive(c)
}

// BenchmarkSteady is a fleet at nine tenths with departures: each decision ends one job and starts another.
func BenchmarkSteady(b *testing.B) {
	for _, nodes := range []int{1000, 6250} {
		b.Run(fmt.Sprint(nodes), func(b *testing.B) {
			c, long := full(b, nodes*9/10, Queue{Name: "q"})
			_ = long
			r := rand.New(rand.NewPCG(5, 6))
			now, n := int64(minute), 0
			b.ReportAllocs()
			b.ResetTimer()
			start := cpuSeconds(b)
			for b.Loop() {
				v := c.running[r.IntN(len(c.running))]
				size := v.opt.size
				now++
				if err := c.End(now, v.ID, 1, true); err != nil {
					b.Fatal(err)
				}
				id := fmt.Sprintf("s%d", n)
				n++
				if err := c.Submit(now, Job{ID: id, Queue: "q", Need: Need{Chips: size}}); err != nil {
					b.Fatal(err)
				}
				c.Plan(now)
			}
			b.ReportMetric(float64(b.N)/(cpuSeconds(b)-start), "decisions/cpu-s")
			reportMemory(b)
			runtime.KeepAlive(c)
		})
	}
}
