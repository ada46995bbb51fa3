// Package fit answers before anything is submitted whether it can fit at all: the one check that stands before training
// and deploying, and before the list of models with the chips of the fleet that hold them.
//
// Rules for callers: what is not known refuses nothing. A refusal is a fault.Invalid with the code "memory" that tells what
// is needed, what there is, and the nearest that would fit. A caller who knows better goes on with what Force returns, which
// is kept with what was submitted.
package fit

import (
	"errors"
	"fmt"
	"math"
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
	return refuse(says+" and this machine has "+Size(n.Has)+" to give.", n.Field, n.Nearest, fault.Cause(errMachine))
}

// errMachine is inside the refusals of this machine's memory, on which others' work lives too.
var errMachine = errors.New("beyond this machine's memory")

// refuse is the refusal with the nearest that would fit.
func refuse(says, field string, nearest func() string, more ...fault.Option) error {
	fix := "--force goes on all the same."
	if nearest != nil {
		if near := nearest(); near != "" {
			fix = strings.ToUpper(near[:1]) + near[1:] + "; " + fix
		}
	}
	return fault.New(fault.Invalid, says, append(more, fault.Field(field), fault.Code("memory"), fault.Fix("%s", fix))...)
}

// Force is what is kept of a refusal that was overridden; empty where err is nil. machine: the caller may fill this machine beyond
// its memory, at the cost of whoever works on it; chips are nobody else's while work has them. Other faults than refusals of this
// package are given back as they are.
func Force(err error, force, machine bool) (kept string, rest error) {
	if err == nil || !force || fault.As(err).Code != "memory" {
		return "", err
	}
	f := *fault.As(err)
	if errors.Is(err, errMachine) && !machine {
		f.Kind = fault.Forbidden
		f.Fix = strings.Replace(f.Fix, "--force goes on all the same", "--force takes the scope platform here, for others work on this machine too", 1)
		return "", &f
	}
	return f.Message, nil
}

// Times is a product of sizes that does not overflow: it ends at the largest there is.
func Times(bytes, n int64) int64 {
	if bytes > 0 && n > math.MaxInt64/bytes {
		return math.MaxInt64
	}
	return bytes * n
}

// Size writes bytes for people.
func Size(n int64) string {
	if n <= 1<<30-1<<20 { // what would be written as 1024 MiB is a GiB
		return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20)
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

// figure writes bytes of a chip's figures, which count in powers of ten.
func figure(v float64) string { return chip.FormatQuantity(v, chip.Bytes) }
