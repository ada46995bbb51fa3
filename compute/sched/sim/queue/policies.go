package queue

import (
	"github.com/triarch-ai/triarch/compute/sched"
	"github.com/triarch-ai/triarch/compute/sched/predict"
	"github.com/triarch-ai/triarch/compute/sched/sim"
	"github.com/triarch-ai/triarch/compute/sched/sim/baseline"
	"github.com/triarch-ai/triarch/compute/sched/sim/triarch"
)

// own are the policies of this project, by name; the baselines are in package baseline.
var own = []struct {
	name string
	mk   func(s *setting) (sim.Policy, error)
}{
	{"triarch", func(s *setting) (sim.Policy, error) {
		p := triarch.New(sched.Config{}, sched.Learned(predict.New(predict.Options{})))
		p.Expect, p.Explain = s.o.Expect, s.o.Explain
		return p, nil
	}},
}

func ownNames() []string {
	var names []string
	for _, p := range own {
		names = append(names, p.name)
	}
	return names
}

// policy makes a policy for one replay.
func (s *setting) policy(name string) (sim.Policy, error) {
	for _, p := range own {
		if p.name == name {
			return p.mk(s)
		}
	}
	return baseline.New(name)
}
