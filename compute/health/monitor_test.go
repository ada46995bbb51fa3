package health

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/triarch-ai/triarch/compute/chip"
)

// rig is a monitor on a store that may fail, with a tool that tells what the test says.
type rig struct {
	*Monitor
	stored  []byte
	fail    error
	devices []chip.Device
	drains  []string
	applied []Node
	passes  int
}

func (r *rig) Board(context.Context, string) ([]byte, error) { return r.stored, r.fail }

func (r *rig) SetBoard(_ context.Context, _ string, b []byte) error {
	if r.fail == nil {
		r.stored = slices.Clone(b)
	}
	return r.fail
}

// again is another process on what the first one stored.
func (r *rig) again() {
	r.Monitor = &Monitor{Machine: "m", Store: r, Log: slog.New(slog.DiscardHandler), Apply: func(n []Node) { r.applied = n },
		Look: func(context.Context) (Scan, error) {
			r.passes++
			at := noon.Add(time.Duration(r.passes) * time.Minute)
			return Scan{Began: at, At: at.Add(time.Second), Host: "here", Found: []chip.Found{{Make: "NVIDIA", Tool: "nvidia-smi", Devices: r.devices}}}, nil
		},
		Drain: func(_ context.Context, node string, draining bool, reason string) error {
			word := "resume "
			if draining {
				word = "drain "
			}
			r.drains = append(r.drains, word+node)
			return nil
		}}
}

func newRig() *rig {
	r := &rig{devices: []chip.Device{gpu(1), gpu(2)}}
	r.again()
	return r
}

func TestNothingFollowsThatIsNotStored(t *testing.T) {
	r := newRig()
	if err := r.Pass(t.Context()); err != nil || len(r.applied) != 1 {
		t.Fatal(err, r.applied)
	}
	r.devices[0].Faults = []chip.Fault{drain}
	r.fail = errors.New("the database is away")
	if err := r.Pass(t.Context()); err == nil || r.applied[0].Slots[0].Out != "" || len(r.drains) > 0 {
		t.Errorf("%v %+v %v", err, r.applied, r.drains)
	}
	r.fail = nil
	if err := r.Pass(t.Context()); err != nil || r.applied[0].Slots[0].Out == "" || !slices.Equal(r.drains, []string{"drain here-nvidia-h100-sxm"}) {
		t.Errorf("%v %+v %v", err, r.applied, r.drains)
	}
}

// Whenever the process dies, a drain is told at least once and, when that was kept, not again; so is its end.
func TestDrainsAreToldOnce(t *testing.T) {
	r := newRig()
	r.devices[0].Faults = []chip.Fault{drain}
	var before []byte
	if err := r.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	before = r.stored
	for range 3 {
		r.again()
		if err := errors.Join(r.Start(t.Context()), r.Pass(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.drains) != 1 {
		t.Errorf("%v", r.drains)
	}
	r.devices[0].Faults = nil
	for range wellAfter + 2 {
		r.again()
		if err := r.Pass(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(r.drains, []string{"drain here-nvidia-h100-sxm", "resume here-nvidia-h100-sxm"}) || r.applied[0].Slots[0].Out != "" {
		t.Errorf("%v %+v", r.drains, r.applied)
	}
	r.stored = before[:len(before)/2] // what is damaged is begun anew
	r.again()
	if err := r.Pass(t.Context()); err != nil || len(r.applied[0].Slots) != 2 {
		t.Error(err)
	}
}

func TestSinceLooksOnlyWhereNobodyDid(t *testing.T) {
	r := newRig()
	for i, x := range []struct {
		t      time.Time
		passes int
	}{{noon, 1}, {noon, 1}, {noon.Add(time.Minute), 2}, {noon.Add(30 * time.Second), 2}, {noon.Add(time.Hour), 3}} {
		if err := r.Since(t.Context(), x.t); err != nil || r.passes != x.passes {
			t.Errorf("%d: %d looks, %v", i, r.passes, err)
		}
	}
}

// A tool that hangs holds up whoever waits for a look as long as they said, once, and nobody after them until a look came to its end.
func TestALookThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		look, hang := r.Look, make(chan struct{})
		r.Look = func(ctx context.Context) (Scan, error) { <-hang; return look(ctx) } // whatever ctx says
		done := make(chan error, 1)
		go func() { done <- r.Pass(t.Context()) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := r.Since(ctx, noon); err == nil {
			t.Error("it looked")
		}
		before := time.Now()
		if err := r.Since(t.Context(), noon); err == nil || time.Since(before) > 0 {
			t.Errorf("waited %s: %v", time.Since(before), err)
		}
		close(hang)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := r.Since(t.Context(), noon.Add(time.Hour)); err != nil || r.passes != 2 {
			t.Errorf("%v, %d looks", err, r.passes)
		}
	})
}

func TestLoopLooksWhenItIsTold(t *testing.T) {
	r := newRig()
	ctx, cancel := context.WithCancel(t.Context())
	tick, done := make(chan time.Time), make(chan struct{})
	go func() { r.Loop(ctx, tick); close(done) }()
	for range 3 {
		tick <- time.Time{}
	}
	cancel()
	<-done
	if r.passes < 3 || r.passes > 4 {
		t.Errorf("%d looks", r.passes)
	}
	if known, err := r.Resume(t.Context(), "nowhere"); known || err != nil {
		t.Error(known, err)
	}
	if got := r.Events("here-nvidia-h100-sxm"); len(got) != 2 || got[0].Slot != 1 {
		t.Errorf("%+v", got)
	}
}
