package train_test

import (
	"strings"
	"testing"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/train"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
)

// sized is a trainer that tells memory without measuring: a MiB a row, and a KiB a token of a row.
type sized struct{ fakeTrainer }

func (sized) Memory(t train.Task) int64 {
	return int64(t.Recipe.Batch)<<20 + int64(t.Recipe.SeqLen)<<10
}

// What does not fit is refused before anything is kept, with the nearest that does; forced it runs and says so.
func TestForcedRuns(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		w := newWorld(t, db)
		s := w.service(nil)
		s.MemoryLimit = 16 << 20
		sp := spec()
		sp.Recipe.Batch = 40
		_, err := s.Submit(t.Context(), who, sp)
		if f := fault.As(err); f.Code != "memory" || f.Field != "recipe.batch" || !strings.Contains(f.Message, "40 MiB for a batch of 40 rows") || !strings.Contains(f.Message, "has 16 MiB") || !strings.Contains(f.Fix, "smaller preset") {
			t.Errorf("%v", err)
		}
		s.Trainers["fake"] = sized{}
		_, err = s.Submit(t.Context(), who, sp)
		if f := fault.As(err); !strings.Contains(f.Fix, "batch of 10 rows of ") || !strings.Contains(f.Fix, "--force") {
			t.Errorf("%v", err)
		}
		if len(w.jobs.jobs) != 0 {
			t.Errorf("%d jobs of refused runs", len(w.jobs.jobs))
		}
		sp.Force = true
		if _, err := s.Submit(t.Context(), who, sp); !fault.Is(err, fault.Forbidden) || len(w.jobs.jobs) != 0 {
			t.Errorf("a tenant fills the machine: %v", err)
		}
		operator := who
		operator.Machine = true
		r, err := s.Submit(t.Context(), operator, sp)
		if err != nil || !strings.Contains(r.Forced, "40 MiB") {
			t.Fatalf("%+v, %v", r, err)
		}
		if kept := must(s.Get(t.Context(), project, r.ID)); kept.Forced != r.Forced {
			t.Errorf("kept %q", kept.Forced)
		}
		sp.Recipe.Batch = 4
		if r := must(s.Submit(t.Context(), who, sp)); r.Forced != "" {
			t.Errorf("what fits is not forced: %q", r.Forced)
		}
	})
}
