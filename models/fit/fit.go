// Package fit answers before anything is submitted whether it can fit at all: the one check that stands before training
// and deploying, and before the list of models with the chips of the fleet that hold them.
//
// Rules for callers: what is not known refuses nothing. A refusal is a fault.Invalid with the code "memory" that tells what
// is needed, what there is, and the nearest that would fit. A caller who knows better goes on with what Force returns, which
// is kept with what was submitted.
package fit

import (
	"fmt"
	"strings"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/internal/fault"
)

// Need is a question to this machine's memory.
type Need struct {
	What   string // "The run", "The deployment"
	Bytes  int64  // of all at once; 0: not known
	Has    int64  // bytes that may be taken; 0: not known
	Field  string // of the request, to be changed
	Detail string // what the bytes are of: "2 replicas"; may be empty
	// Nearest looks for what would fit: a phrase such as "batch 4 would take 1.2 GiB"; empty: nothing would. It is called only
	// where the need does not fit; nil: nothing is looked for.
	Nearest func() string
}

// Memory refuses what needs more than there is.
func Memory(n Need) error {
	if n.Bytes <= 0 || n.Has <= 0 || n.Bytes <= n.Has {
		return nil
	}
	says := n.What + " needs at least " + Size(n.Bytes)
	if n.Detail != "" {
		says += " for " + n.Detail
	}
	return refuse(says+" and this machine has "+Size(n.Has)+" to give.", n.Field, n.Nearest)
}

// refuse is the refusal with the nearest that would fit.
func refuse(says, field string, nearest func() string) error {
	fix := "--force goes on all the same."
	if nearest != nil {
		if near := nearest(); near != "" {
			fix = strings.ToUpper(near[:1]) + near[1:] + "; " + fix
		}
	}
	return fault.New(fault.Invalid, says, fault.Field(field), fault.Code("memory"), fault.Fix("%s", fix))
}

// Force is what is kept of a refusal that was overridden; empty where err is nil. Other faults than refusals of this package
// are given back as they are.
func Force(err error, force bool) (kept string, rest error) {
	if err == nil || !force || fault.As(err).Code != "memory" {
		return "", err
	}
	return fault.As(err).Message, nil
}

// Size writes bytes for people.
func Size(n int64) string {
	if n < 1<<30 {
		return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20)
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

// figure writes bytes of a chip's figures, which count in powers of ten.
func figure(v float64) string { return chip.FormatQuantity(v, chip.Bytes) }
