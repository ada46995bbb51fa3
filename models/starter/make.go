package starter

import (
	"context"
	"io"
	"slices"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/data"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/models/train"
)

// Name is the name of the starter's data set, model, deployment and route.
const Name = "starter"

// The services that Make drives, each what it needs of them.
type (
	// Data imports the conversations.
	Data interface {
		Import(ctx context.Context, project, name string, format data.Format, r io.Reader, opt data.Options) (data.Version, error)
	}
	// Train runs the training.
	Train interface {
		Estimate(ctx context.Context, who train.Who, spec train.Spec) (train.Run, error)
		Submit(ctx context.Context, who train.Who, spec train.Spec) (train.Run, error)
		Get(ctx context.Context, project, id string) (train.Run, error)
		List(ctx context.Context, project string, p page.Page) ([]train.Run, error)
	}
	// Serve deploys the result.
	Serve interface {
		Deploy(ctx context.Context, who serve.Who, spec serve.DeploySpec) (serve.Deployment, error)
		Get(ctx context.Context, project, name string) (serve.Deployment, error)
	}
)

// Stage says what Make is doing.
type Stage string

// The stages, in order.
const (
	Preparing Stage = "preparing" // the conversations are being written and imported
	Training  Stage = "training"
	Deploying Stage = "deploying"
	Ready     Stage = "ready"
)

// Progress is what a person in front of Make wants to see.
type Progress struct {
	Stage Stage
	Run   train.Run     // while Training
	Left  time.Duration // of the training, by what was measured so far
}

// Maker makes the starter in one project. It holds no state of its own: Make may be called again after any
// crash and goes on where things stand.
type Maker struct {
	Data  Data
	Train Train
	Serve Serve
	CPUs  int           // cores to train on
	Limit time.Duration // how long the training should take at most; the size is chosen to fit
	Poll  time.Duration // how often to look
	Show  func(Progress)
	Now   func() time.Time
}

// Make brings the starter into being: 1 conversations become a data version, 2 a run of a size that fits is
// submitted, 3 it trains, 4 its model version is deployed under the route "starter", 5 a replica answers.
func (m *Maker) Make(ctx context.Context, who serve.Who) error {
	run, err := m.run(ctx, who) // 1, 2
	if err != nil {
		return err
	}
	if run, err = m.trained(ctx, run); err != nil { // 3
		return err
	}
	d, err := m.deploy(ctx, who, run) // 4
	if err != nil {
		return err
	}
	return m.answering(ctx, d) // 5
}

// run finds the starter's run that an earlier call submitted, or submits one.
func (m *Maker) run(ctx context.Context, who serve.Who) (train.Run, error) {
	runs, err := m.Train.List(ctx, who.Project, page.All)
	if err != nil {
		return train.Run{}, err
	}
	for _, r := range runs {
		if r.Model == Name && (!r.State.Final() || r.State == train.Succeeded) {
			return r, nil
		}
	}
	m.Show(Progress{Stage: Preparing})
	v, err := m.conversations(ctx, who)
	if err != nil {
		return train.Run{}, err
	}
	spec, err := m.fit(ctx, who, v)
	if err != nil {
		return train.Run{}, err
	}
	return m.Train.Submit(ctx, asker(who), spec)
}

func (m *Maker) conversations(ctx context.Context, who serve.Who) (data.Version, error) {
	r, w := io.Pipe()
	go func() { w.CloseWithError(Write(w, DefaultMix())) }()
	defer r.Close()
	return m.Data.Import(ctx, who.Project, Name, data.Chat, r, data.Options{CreatedBy: who.Key})
}

// temperature is what the starter suggests: its answers are learned by heart, and chance would only garble them.
var temperature = 0.3

// sizes are what the starter may be, best first: all learn the words, the larger ones with less doubt. The last
// is taken whatever it takes.
var sizes = []train.Recipe{
	{Preset: "tiny", Steps: 640, LR: 3e-3, Seed: 1, Temperature: &temperature},
	{Preset: "tiny", Steps: 480, LR: 3e-3, Seed: 1, Temperature: &temperature},
	{Preset: "tiny", Dim: 96, Heads: 3, FFN: 256, Layers: 3, Steps: 640, LR: 4e-3, Seed: 1, Temperature: &temperature},
	{Preset: "tiny", Dim: 96, Heads: 3, FFN: 256, Layers: 3, Steps: 540, LR: 4e-3, Seed: 1, Temperature: &temperature},
}

// Sizes are the recipes that Make chooses from, the best first.
func Sizes() []train.Recipe { return slices.Clone(sizes) }

// fit measures this machine (train.Estimate does, for a moment) and takes the first size that is done in time.
func (m *Maker) fit(ctx context.Context, who serve.Who, v data.Version) (train.Spec, error) {
	var spec train.Spec
	for _, size := range sizes {
		spec = train.Spec{Name: Name, Model: Name, Data: v.ID, Recipe: size, CPUs: m.CPUs}
		planned, err := m.Train.Estimate(ctx, asker(who), spec)
		if err != nil {
			return spec, err
		}
		if planned.Estimate.Duration <= m.Limit {
			break
		}
	}
	return spec, nil
}

// trained waits for the run, showing its progress.
func (m *Maker) trained(ctx context.Context, r train.Run) (train.Run, error) {
	for !r.State.Final() {
		m.Show(Progress{Stage: Training, Run: r, Left: m.left(r)})
		if err := m.wait(ctx); err != nil {
			return r, err
		}
		var err error
		if r, err = m.Train.Get(ctx, r.Project, r.ID); err != nil {
			return r, err
		}
	}
	if r.State != train.Succeeded {
		return r, fault.New(fault.Conflict, "The starter's run "+r.ID+" ended as "+string(r.State)+": "+r.Reason,
			fault.Fix("See `triarch run logs %s`; `triarch up` tries again.", r.ID))
	}
	return r, nil
}

// left guesses the rest of the training from the speed so far.
func (m *Maker) left(r train.Run) time.Duration {
	p := r.Progress
	if p.Step == 0 || r.StartedAt.IsZero() {
		return r.Estimate.Duration
	}
	return time.Duration(float64(m.Now().Sub(r.StartedAt)) / float64(p.Step) * float64(p.Steps-p.Step))
}

// deploy finds the starter's deployment or makes it, with its route.
func (m *Maker) deploy(ctx context.Context, who serve.Who, r train.Run) (serve.Deployment, error) {
	m.Show(Progress{Stage: Deploying, Run: r})
	d, err := m.Serve.Get(ctx, who.Project, Name)
	if !fault.Is(err, fault.NotFound) {
		return d, err
	}
	return m.Serve.Deploy(ctx, who, serve.DeploySpec{
		Name: Name, Model: r.ModelVersion, Replicas: 1,
		Route: &serve.RouteSpec{Name: Name, Shared: true},
	})
}

// answering waits until a replica of the deployment answers.
func (m *Maker) answering(ctx context.Context, d serve.Deployment) error {
	for d.Ready == 0 {
		if d.State == serve.Failed {
			return fault.New(fault.Unavailable, "The starter cannot be served: "+d.Reason, fault.Fix("See `triarch deployment logs %s`.", d.Name))
		}
		if err := m.wait(ctx); err != nil {
			return err
		}
		var err error
		if d, err = m.Serve.Get(ctx, d.Project, d.ID); err != nil {
			return err
		}
	}
	m.Show(Progress{Stage: Ready})
	return nil
}

func (m *Maker) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(m.Poll):
		return nil
	}
}

func asker(who serve.Who) train.Who { return train.Who{Project: who.Project, Key: who.Key} }
