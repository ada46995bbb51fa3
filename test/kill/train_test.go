package kill

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/api"
)

// conversations is a small data set, the same in every test.
func conversations() string {
	words := strings.Fields("ledger route replica keeper fence budget token model worker supervisor run recipe data blob")
	var b strings.Builder
	for i := range 300 {
		w := func(k int) string { return words[(i*k+i/7)%len(words)] }
		fmt.Fprintf(&b, `{"messages":[{"role":"user","content":"What has the %s to do with the %s?"},`+
			`{"role":"assistant","content":"The %s asks the %s, and the %s answers %d times."}]}`+"\n", w(1), w(3), w(1), w(5), w(3), i%9)
	}
	return b.String()
}

// steps of a run: a handful of seconds of one idle core.
const steps = 240

// furnish starts the program on an empty directory and gives it data.
func (p *place) furnish() {
	p.t.Helper()
	p.up()
	_, err := p.api.ImportData(p.t.Context(), api.Import{Name: "notes", Format: "chat"}, strings.NewReader(conversations()))
	p.ok(err)
}

// train submits the run that all tests here do and returns it once its job is made.
func (p *place) train() api.Run {
	p.t.Helper()
	r, err := p.api.CreateRun(p.t.Context(), api.NewRun{Model: "m", Data: "notes", CPUs: 1, Recipe: api.Recipe{Preset: "nano", Steps: steps}})
	p.ok(err)
	p.eventually("the run's job", func() bool { r = p.show(r.ID); return r.JobID != "" })
	return r
}

func (p *place) show(run string) api.Run {
	p.t.Helper()
	r, err := p.api.Run(p.t.Context(), run)
	p.ok(err)
	return r
}

// ended waits for the end of a run, which must be a success.
func (p *place) ended(run string) (r api.Run) {
	p.t.Helper()
	p.eventually("the end of the run", func() bool { r = p.show(run); return r.Ended() })
	if r.State != "succeeded" {
		p.t.Fatalf("the run is %s: %s", r.State, r.Reason)
	}
	return r
}

// outcome is what a run came to. Two runs of one recipe must be alike in all of it, to the bit.
type outcome struct {
	SHA256 string // of the exported weights
	Loss   float64
	Curve  []api.LossPoint // of every step
}

// outcome exports the run's only version and compares the files with what the registry says of them.
func (p *place) outcome(r api.Run) outcome {
	p.t.Helper()
	v, err := p.api.ModelVersion(p.t.Context(), r.ModelVersion)
	p.ok(err)
	to := filepath.Join(p.t.TempDir(), "exported")
	p.run(nil, "model", "export", r.ModelVersion, "--to", to)
	weights, err := os.ReadFile(filepath.Join(to, "model.safetensors"))
	p.ok(err)
	sum := sha256.Sum256(weights)
	o := outcome{SHA256: hex.EncodeToString(sum[:]), Loss: v.Metrics["loss"], Curve: v.LossCurve}
	for _, f := range v.Files {
		if f.Name == "model.safetensors" && f.SHA256 != o.SHA256 {
			p.t.Errorf("the exported weights are %s, the registry has %s", o.SHA256, f.SHA256)
		}
	}
	if len(o.Curve) != steps || r.Progress.Loss != o.Loss || v.Lineage.RunID != r.ID {
		p.t.Errorf("version %s of %s: %d points, loss %v and %v, lineage %+v", v.ID, r.ID, len(o.Curve), o.Loss, r.Progress.Loss, v.Lineage)
	}
	return o
}

// versions are the ids of the model's versions.
func (p *place) versions() map[string]bool {
	p.t.Helper()
	list, err := p.api.ModelVersions(p.t.Context(), "m")
	p.ok(err)
	ids := map[string]bool{}
	for _, v := range list {
		ids[v.ID] = true
	}
	return ids
}

var calm struct {
	sync.Once
	outcome
}

// undisturbed is what the run comes to when nobody kills anything; it is made once for all tests.
func undisturbed(t *testing.T) outcome {
	t.Helper()
	calm.Do(func() {
		p := newPlace(t, binaries.triarch)
		p.furnish()
		r := p.ended(p.train().ID)
		calm.outcome = p.outcome(r)
		p.down()
	})
	if calm.SHA256 == "" {
		t.Fatal("there is no undisturbed run to compare with")
	}
	return calm.outcome
}

// The control plane is killed at random moments of training, of its own start and of registration: each run finishes
// once, in its first attempt and first process, and ends with the bits of an undisturbed run.
func TestControlPlaneKilledWhileTraining(t *testing.T) {
	t.Parallel()
	want := undisturbed(t)
	p := newPlace(t, binaries.triarch)
	p.furnish()
	d := disturber{place: p, dice: dice(t), most: killCount(t, 4)}
	runs := 0
	for d.kills < d.most {
		runs++
		r := d.disturb(p.train())
		if diff := cmp.Diff(want, p.outcome(r)); diff != "" {
			t.Errorf("the disturbed run ended otherwise (-undisturbed +disturbed):\n%s", diff)
		}
		if got := p.versions(); len(got) != runs || !got[r.ModelVersion] {
			t.Errorf("after %d runs there are the versions %v; the last run's is %s", runs, got, r.ModelVersion)
		}
	}
	t.Logf("%d kills of the control plane in %d runs (%d while it started, %d while it registered), slowest first answer %s, loss %v, weights %.12s",
		d.kills, runs, d.starting, d.registering, p.slowest.Round(time.Millisecond), want.Loss, want.SHA256)
}

// disturber kills the control plane beneath a run.
type disturber struct {
	*place
	dice                         *rand.Rand
	most                         int // then only registration is still disturbed
	kills, starting, registering int
}

func (d *disturber) disturb(r api.Run) api.Run {
	d.t.Helper()
	worker := d.worker(r.JobID, 1)
	result := filepath.Join(d.dir, "work", r.JobID, "out", "result.json")
	registered := false
	for !d.show(r.ID).Ended() {
		done := d.pause(result)
		if done && registered || !done && d.kills >= d.most {
			continue
		}
		d.kill()
		d.kills++
		if done {
			registered = true
			d.registering++
		}
		if done || d.dice.IntN(3) == 0 { // the start that registers is worth it every time
			d.spawn()
			time.Sleep(upTo(d.dice, 300*time.Millisecond))
			d.kill()
			d.kills++
			d.starting++
		}
		if !done && !alive(worker) && !exists(filepath.Join(d.attempt(r.JobID, 1), "exit.json")) {
			d.t.Errorf("the worker %d died with the control plane", worker)
		}
		d.up()
	}
	r = d.ended(r.ID)
	if n := d.attempts(r.JobID); n != 1 || r.Attempt != 1 || r.Restarts != 0 || d.worker(r.JobID, 1) != worker {
		d.t.Errorf("the worker was started anew: %d attempts, number %d, %d restarts, pid %d and before %d", n, r.Attempt, r.Restarts, d.worker(r.JobID, 1), worker)
	}
	return r
}

// pause waits for a random moment, or until the worker has left its result, and says which it was.
func (d *disturber) pause(result string) (done bool) {
	for end := time.Now().Add(upTo(d.dice, 900*time.Millisecond)); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if exists(result) {
			time.Sleep(upTo(d.dice, 200*time.Millisecond))
			return true
		}
	}
	return exists(result)
}
