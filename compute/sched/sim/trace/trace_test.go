package trace

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/internal/fault"
)

func read(t *testing.T, text string) []Job {
	t.Helper()
	jobs, _, err := Read(strings.NewReader(text), Options{File: "jobs.csv"})
	if err != nil {
		t.Fatal(err)
	}
	return jobs
}

func rigid(line int32, id string, submit, duration time.Duration, chips int32) Job {
	return Job{Duration: duration, Spec: Spec{ID: id, Submit: submit, Chips: chips, MinChips: chips, MaxChips: chips, Share: 1000, Line: line, Preemptible: true}}
}

func TestITPForms(t *testing.T) {
	got := read(t, "cluster,job_id,submit_time,duration,num_gpu\nc2,b,20,5,64\nc1,a,10.5,7,1\n")
	a, b := rigid(3, "a", 10500*time.Millisecond, 7*time.Second, 1), rigid(2, "b", 20*time.Second, 5*time.Second, 64)
	a.Cluster, b.Cluster = "c1", "c2"
	if diff := cmp.Diff([]Job{a, b}, got); diff != "" {
		t.Error(diff)
	}
	got = read(t, "cluster,job_id,submission_time,num_iteration,model_name,deadline,batch_size,num_gpu,duration\nc1,a,10,99,gpt2,30,64,2,40\n")
	if j := got[0]; j.Name != "gpt2" || j.Deadline != 30*time.Second || j.Duration != 40*time.Second || j.Chips != 2 {
		t.Errorf("%+v", j)
	}
}

func TestOpenbRunsFromScheduledToDeleted(t *testing.T) {
	got := read(t, `name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time
p0,12000,16384,1,460,V100M16|V100M32,LS,Running,100,1000,250
p1,4000,8192,0,0,,BE,Failed,50,80,
p2,8000,1,8,1000,,BE,Running,60,60,60
`)
	if len(got) != 3 || got[0].ID != "p1" || got[0].Duration != 30*time.Second || got[0].Chips != 0 || got[0].CPU != 4000 {
		t.Errorf("%+v", got[0])
	}
	if p := got[2]; p.Duration != 750*time.Second || p.Submit != 100*time.Second || p.Share != 460 || !slices.Equal(p.ChipList, []string{"V100M16", "V100M32"}) || p.Queue != "LS" {
		t.Errorf("%+v", p)
	}
	_, _, err := Read(strings.NewReader("name,cpu_milli,memory_mib,num_gpu,gpu_milli\np,1,1,1,1000\n"), Options{File: "x"})
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "sim pack") {
		t.Errorf("no times: %v", err)
	}
}

func TestOwnFormKnowsEveryColumn(t *testing.T) {
	got := read(t, "\ufeffjob,submit,duration,cluster,queue,project,user,name,type,chips,share,chip_list,cpu,memory_mib,priority,deadline,preemptible,min_chips,max_chips\r\n"+
		`"j,""1""",1.5,60,c,q,p,u,n,LM,4,,a100|h100,3.5,2048,-2,100,false,2,8`+"\r\n\r\n")
	want := Job{Duration: time.Minute, Spec: Spec{ID: `j,"1"`, Cluster: "c", Queue: "q", Project: "p", User: "u", Name: "n", Type: "LM", ChipList: []string{"a100", "h100"},
		Submit: 1500 * time.Millisecond, Deadline: 100 * time.Second, CPU: 3500, Memory: 2048, Chips: 4, Share: 1000, MinChips: 2, MaxChips: 8, Priority: -2, Line: 2}}
	if diff := cmp.Diff([]Job{want}, got); diff != "" {
		t.Error(diff)
	}
	if got := want.Service(); got != 4*60_000 {
		t.Errorf("service %d", got)
	}
}

func TestImpossibleRowsNameLineAndColumn(t *testing.T) {
	const head = "job,submit,duration,chips,share,cpu,deadline,preemptible,min_chips,max_chips,chip_list\n"
	const fine = "ok,0,1,1,,,,,,,\n"
	for row, want := range map[string]string{
		"a,-1,1,1,,,,,,,":       `line 3, submit: "-1" is negative`,
		"a,0,-5,1,,,,,,,":       `line 3, duration: "-5" is negative`,
		"a,0,NaN,1,,,,,,,":      `line 3, duration: "NaN" is not a number`,
		"a,0,+Inf,1,,,,,,,":     "line 3, duration:",
		"a,0,1e300,1,,,,,,,":    "line 3, duration:",
		"a,,1,1,,,,,,,":         "line 3, submit: it is empty",
		"a,0,1,0,,,,,,,":        "line 3, chips: it asks for no chip and no CPU",
		"a,0,1,1.5,,,,,,,":      `line 3, chips: "1.5" is not a whole number`,
		"a,0,1,99999999,,,,,,,": "line 3, chips:",
		"a,0,1,2,500,,,,,,":     "line 3, share: a share of a chip needs chips 1",
		"a,0,1,1,0,,,,,,":       "line 3, share:",
		"a,9,1,1,,,5,,,,":       "line 3, deadline: it lies before the submission",
		"a,0,1,1,,,,maybe,,,":   `line 3, preemptible: "maybe" is neither true nor false`,
		"a,0,1,4,,,,,5,,":       "line 3, min_chips: 5 is above chips 4",
		"a,0,1,4,,,,,,3,":       "line 3, max_chips: 3 is below chips 4",
		"a,0,1,1,500,,,,,2,":    "line 3, share: a share of a chip cannot be elastic",
		"a,0,1,1,,,,,,,x||y":    "line 3, chip_list",
		"ok,0,1,1,,,,,,,":       `line 3, job: the id "ok" is that of line 2 too`,
		",0,1,1,,,,,,,":         "line 3, job: the id is empty",
		"a,0,1":                 "line 3: it has 3 cells where the header has 11",
	} {
		_, _, err := Read(strings.NewReader(head+fine+row+"\n"), Options{File: "jobs.csv"})
		if err == nil || !strings.Contains(err.Error(), "jobs.csv "+want) || !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v\nwant %s", row, err, want)
		}
		jobs, rep, err := Read(strings.NewReader(head+fine+row+"\nlast,7,1,1,,,,,,,\n"), Options{File: "jobs.csv", SkipBad: true})
		if err != nil || len(jobs) != 2 || rep.Skipped != 1 || rep.Rows != 3 || !strings.Contains(rep.First, want) {
			t.Errorf("%s skipped: %v, %+v", row, err, rep)
		}
	}
}

func TestOpenbRowsThatEndBeforeTheyStart(t *testing.T) {
	const head = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,creation_time,deletion_time,scheduled_time\n"
	for row, want := range map[string]string{
		"p,1,1,1,1000,,100,50,":    "deletion_time: it lies before the start",
		"p,1,1,1,1000,,100,150,50": "scheduled_time: it lies before the creation",
		"p,1,1,2,500,,0,1,":        "share: a share of a chip needs chips 1",
		"p,0,1,0,0,,0,1,":          "chips: it asks for no chip and no CPU",
	} {
		if _, _, err := Read(strings.NewReader(head+row), Options{File: "x"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", row, err)
		}
	}
}

func TestFilesThatAreNoTrace(t *testing.T) {
	many := "job,submit,duration,chips\n"
	for i := range 5000 {
		many += fmt.Sprintf("j%d,%d,%d,1\n", i, i, i*i%977)
	}
	damaged := zip(t, many)
	for text, want := range map[string]string{
		"":                                   "is empty",
		"a,b,c\n1,2,3\n":                     "no known form",
		"job,submit,duration,chps\n":         `unknown column "chps". The nearest known one is "chips"`,
		"job,submit,duration,job\n":          `the column "job" twice`,
		"job,submit,duration,chips\n":        "has no job",
		"worker_type,job_type,iters_per_s\n": "table of throughputs",
		"sn,cpu_milli,model\n":               "list of nodes",
		"job,submit,duration\n" + strings.Repeat("x", MaxLine+1): "longer than",
		damaged[:len(damaged)/2]:                                 "cannot be read beyond line",
		"\x1f\x8bnonsense":                                       "damaged gzip",
	} {
		if _, _, err := Read(strings.NewReader(text), Options{File: "f"}); err == nil || !strings.Contains(err.Error(), want) || !fault.Is(err, fault.Invalid) {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

func zip(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestGzipIsReadAsItIs(t *testing.T) {
	text := "job,submit,duration,chips\na,0,1,1\nb,2,3,4\n"
	if diff := cmp.Diff(read(t, text), read(t, zip(t, text))); diff != "" {
		t.Error(diff)
	}
}

func FuzzRead(f *testing.F) {
	f.Add("cluster,job_id,submit_time,duration,num_gpu\nc,a,1,2,3\n", true)
	f.Add("job,submit,duration,chips,share\n\"a\"\"b\",1,2,1,500\n", false)
	f.Add("name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,creation_time,deletion_time\np,1,1,1,10,x|y,0,9\n", false)
	f.Fuzz(func(t *testing.T, text string, skip bool) {
		jobs, _, err := Read(strings.NewReader(text), Options{File: "f", SkipBad: skip})
		if err != nil {
			if fault.KindOf(err) == fault.Internal {
				t.Fatalf("%v is not the user's fault", err)
			}
			return
		}
		ids := map[string]bool{}
		for i, j := range jobs {
			if j.Submit < 0 || j.Duration < 0 || j.Chips < 0 || j.Chips == 0 && j.CPU == 0 || j.MinChips > j.Chips || j.MaxChips < j.Chips || ids[j.ID] || j.Service() < 0 {
				t.Fatalf("impossible job %+v", j)
			}
			if i > 0 && j.Submit < jobs[i-1].Submit {
				t.Fatal("not sorted")
			}
			ids[j.ID] = true
		}
	})
}

const rates = `worker_type,job_type,scale_factor,other_job,other_sf,iters_per_s,other_iters_per_s
k80,LM (batch size 5),1,,,10,
k80,A3C,1,,,0,
k80,LM (batch size 5),2,,,19,
k80,LM (batch size 5),1,A3C,1,4,3
k80_unconsolidated,LM (batch size 5),1,,,9,
v100,LM (batch size 5),1,,,40,
v100,A3C,1,,,7,
`

func TestThroughputsKeepJobsAlone(t *testing.T) {
	got, err := ReadThroughputs(strings.NewReader(rates), Options{File: "t.csv"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&Throughputs{[]string{"k80", "v100"}, []string{"LM (batch size 5)", "A3C"}, [][]float64{{10, 40}, {0, 7}}}, got); diff != "" {
		t.Error(diff)
	}
	ppm, err := got.PPM("v100", []string{"v100", "k80"})
	if diff := cmp.Diff([][]int64{{1e6, 250_000}, {1e6, 0}}, ppm); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if _, err := got.PPM("k80", []string{"k80"}); err == nil || !strings.Contains(err.Error(), "cannot run \"A3C\"") {
		t.Error(err)
	}
	if _, err := got.PPM("v10", nil); err == nil || !strings.Contains(err.Error(), "nearest is \"v100\"") {
		t.Error(err)
	}
	for text, want := range map[string]string{
		rates + "v100,A3C,1,,,7,\n":        "line 9, job_type: the pair A3C on v100 is there twice",
		rates + "v100,B,1,,,-7,\n":         "line 9, iters_per_s: \"-7\" is negative",
		rates + "v100,B,0,,,7,\n":          "line 9, scale_factor",
		"job,submit\n":                     "no column worker_type",
		strings.SplitAfter(rates, "\n")[0]: "measures no type",
	} {
		if _, err := ReadThroughputs(strings.NewReader(text), Options{File: "t.csv"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestGavelJobsAreDrawnAsPublished(t *testing.T) {
	jobs, err := GavelJobs([]string{"a", "b"}, 40_000, 10, 1)
	if err != nil {
		t.Fatal(err)
	}
	var sum, long float64
	types := map[string]int{}
	for _, j := range jobs {
		sum += j.Duration.Seconds()
		types[j.Type]++
		if m := j.Duration.Minutes(); m < 31.6 || m > 10_000 {
			t.Fatalf("duration %v", j.Duration)
		} else if m > 1000 {
			long++
		}
	}
	n := float64(len(jobs))
	if mean := sum / n; math.Abs(mean/MeanGavelDuration.Seconds()-1) > 0.03 {
		t.Errorf("mean duration %.0f s, want %v", mean, MeanGavelDuration.Seconds())
	}
	if math.Abs(long/n-0.2) > 0.01 || math.Abs(float64(types["a"])/n-0.5) > 0.01 || math.Abs(jobs[len(jobs)-1].Submit.Hours()/(n/10)-1) > 0.03 {
		t.Errorf("%.3f long, %v, last after %v", long/n, types, jobs[len(jobs)-1].Submit)
	}
	again, _ := GavelJobs([]string{"a", "b"}, 40_000, 10, 1)
	if !cmp.Equal(jobs, again) {
		t.Error("the same seed drew other jobs")
	}
}

// Whatever the trace, the resampled one brings the load, keeps its jobs' shapes, and is the same again.
func TestResampleBringsTheLoad(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var jobs []Job
		at := time.Duration(0)
		for i := range rapid.IntRange(1, 40).Draw(t, "jobs") {
			at += time.Duration(rapid.IntRange(0, 1000).Draw(t, "gap")) * time.Second
			j := rigid(0, fmt.Sprint(i), at, time.Duration(rapid.IntRange(1, 5000).Draw(t, "duration"))*time.Second, int32(rapid.IntRange(1, 9).Draw(t, "chips")))
			j.Cluster = []string{"a", "b"}[i%2]
			jobs = append(jobs, j)
		}
		n, load, seed := rapid.IntRange(50, 300).Draw(t, "n"), rapid.Float64Range(0.1, 1.5).Draw(t, "load"), rapid.Uint64().Draw(t, "seed")
		capacity := []int64{int64(rapid.IntRange(1, 100).Draw(t, "capacity")), int64(rapid.IntRange(1, 100).Draw(t, "capacity"))}
		group := func(j *Job) int { return int(j.Cluster[0] - 'a') }
		got, err := Resample(jobs, n, load, seed, group, capacity)
		if err != nil {
			t.Fatal(err)
		}
		again, _ := Resample(jobs, n, load, seed, group, capacity)
		if !cmp.Equal(got, again) || len(got) > n || len(got) < n-1 {
			t.Fatalf("%d of %d jobs, or not the same again", len(got), n)
		}
		service, last, count := make([]float64, 2), make([]time.Duration, 2), make([]float64, 2)
		ids := map[string]bool{}
		for i, j := range got {
			service[group(&j)] += float64(j.Service()) / 1000
			last[group(&j)] = j.Submit
			count[group(&j)]++
			if ids[j.ID] || i > 0 && j.Submit < got[i-1].Submit {
				t.Fatalf("job %s is there twice or out of order", j.ID)
			}
			ids[j.ID] = true
		}
		for g := range service {
			// A trace without gaps is spread from 0 to one step before the end, and rounding may cut a job off.
			if span := last[g].Seconds(); service[g] > 0 && span > 0 {
				if got := service[g] / float64(capacity[g]) / span; math.Abs(got/load-1) > 0.01+2/max(1, count[g]-1) {
					t.Fatalf("group %d has load %.3f, want %.3f", g, got, load)
				}
			}
		}
	})
}
