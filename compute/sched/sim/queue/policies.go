package queue

import (
	"slices"
	"strings"

	"github.com/triarch-ai/triarch/compute/sched"
	"github.com/triarch-ai/triarch/compute/sched/predict"
	"github.com/triarch-ai/triarch/compute/sched/sim"
	"github.com/triarch-ai/triarch/compute/sched/sim/baseline"
	"github.com/triarch-ai/triarch/compute/sched/sim/belief"
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

// learners are the policies that may be given less than the table of throughputs, by a kind of knowledge behind a colon.
var learners = []string{"triarch", "gavel"}

// policy makes a policy for one replay, and what it knows of the throughputs; nil: all.
func (s *setting) policy(name string) (sim.Policy, *belief.Beliefs, error) {
	var known *belief.Beliefs
	if base, kind, has := strings.Cut(name, ":"); has && slices.Contains(learners, base) {
		var chips []string
		for _, c := range s.fleet.Chips {
			chips = append(chips, c.Name)
		}
		var err error
		if known, err = belief.New(s.table, s.ref, chips, belief.Options{Kind: belief.Kind(kind), Hide: s.o.Hide, Seed: s.o.Seed, Optimism: s.o.Optimism}); err != nil {
			return nil, nil, err
		}
		name = base
	}
	for _, p := range own {
		if p.name == name {
			made, err := p.mk(s)
			return made, known, err
		}
	}
	made, err := baseline.New(name)
	return made, known, err
}
