package baseline

import (
	"fmt"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/compute/sched/sim"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/nearest"
)

// Thresholds are the chip-times by which the policy las is swept where none is given; the best is shown.
var Thresholds = []time.Duration{time.Hour, 4 * time.Hour, 8 * time.Hour, 16 * time.Hour, 32 * time.Hour, 64 * time.Hour}

// makers are the policies by name.
var makers = map[string]func() sim.Policy{
	"fifo":          func() sim.Policy { return FIFO(false) },
	"fifo-backfill": func() sim.Policy { return FIFO(true) },
	"sjf":           func() sim.Policy { return SJF(false) },
	"sjf-backfill":  func() sim.Policy { return SJF(true) },
	"srtf":          SRTF,
	"srsf":          SRSF,
	"las":           func() sim.Policy { return LAS(8 * time.Hour) },
	"drf":           DRF,
	"gavel":         Gavel,
}

// Names are the policies that New knows, in the order in which they are best shown.
func Names() []string {
	return []string{"fifo", "fifo-backfill", "sjf", "sjf-backfill", "srtf", "srsf", "las", "drf", "gavel"}
}

// New makes a policy for one replay. "las:4h" is las with a threshold of its own.
func New(name string) (sim.Policy, error) {
	base, arg, has := strings.Cut(name, ":")
	if has && base == "las" {
		d, err := time.ParseDuration(arg)
		if err != nil || d <= 0 {
			return nil, fault.InvalidField("policy", "%q is no threshold for las; write las:4h", arg)
		}
		return LAS(d), nil
	}
	mk, ok := makers[name]
	if !ok {
		return nil, Unknown(name, Names())
	}
	return mk(), nil
}

// Unknown is the error for a policy that is none of names.
func Unknown(name string, names []string) error {
	return fault.New(fault.Invalid, fmt.Sprintf("There is no policy %q.", name), fault.Field("policy"),
		fault.Fix("The nearest is %q; there are %s", nearest.Name(name, names), strings.Join(names, ", ")))
}
