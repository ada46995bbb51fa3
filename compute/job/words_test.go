package job_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/fault"
)

func TestMergeKeepsOneHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var lines []job.Line
		step, last := int64(1), map[int64]int{}
		for a := 1; a <= rapid.IntRange(1, 6).Draw(t, "attempts"); a++ {
			step = max(1, step-int64(rapid.IntRange(0, 10).Draw(t, "back")))
			for range rapid.IntRange(0, 20).Draw(t, "steps") {
				lines = append(lines, job.Line{Attempt: a, Step: step})
				last[step] = a
				step++
			}
		}
		got := job.Merge(lines)
		for i, l := range got {
			if i > 0 && (l.Step != got[i-1].Step+1 || l.Attempt < got[i-1].Attempt) {
				t.Fatalf("step %d of attempt %d follows step %d of attempt %d", l.Step, l.Attempt, got[i-1].Step, got[i-1].Attempt)
			}
			if last[l.Step] != l.Attempt {
				t.Fatalf("step %d is of attempt %d, was last done by %d", l.Step, l.Attempt, last[l.Step])
			}
		}
		if len(lines) > 0 && got[len(got)-1].Step != lines[len(lines)-1].Step {
			t.Fatal("the history does not end where the work did")
		}
	})
}

func TestFence(t *testing.T) {
	dir := t.TempDir()
	if n, err := job.ReadFence(dir); n != 0 || err != nil {
		t.Errorf("no fence reads %d, %v", n, err)
	}
	if err := job.CheckFence(dir, 1); err == nil {
		t.Error("an attempt without a fence may write")
	}
	write := func(s string) {
		if err := os.WriteFile(filepath.Join(dir, job.FenceFile), []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("3\n")
	if err := job.CheckFence(dir, 3); err != nil {
		t.Error(err)
	}
	if err := job.CheckFence(dir, 2); !errors.Is(err, job.ErrSuperseded) {
		t.Errorf("an older attempt: %v", err)
	}
	for _, damaged := range []string{"", "x", "-1", "0", "3 4"} {
		write(damaged)
		if err := job.CheckFence(dir, 3); err == nil {
			t.Errorf("a fence of %q lets an attempt write", damaged)
		}
	}
}

func TestSpecsAreChecked(t *testing.T) {
	for field, change := range map[string]func(*job.Spec){
		"project":              func(s *job.Spec) { s.Project = "" },
		"kind":                 func(s *job.Spec) { s.Kind = strings.Repeat("x", 300) },
		"name":                 func(s *job.Spec) { s.Name = "a\x00" },
		"cpus":                 func(s *job.Spec) { s.CPUs = -1 },
		"memory_bytes":         func(s *job.Spec) { s.MemoryBytes = -1 },
		"restart.max":          func(s *job.Spec) { s.Restart.Max = -1 },
		"restart.backoff_base": func(s *job.Spec) { s.Restart.BackoffBase, s.Restart.BackoffMax = 2, 1 },
		"class":                func(s *job.Spec) { s.Ask.Class = "urgent" },
		"time_limit":           func(s *job.Spec) { s.Ask.Class = job.Evaluation },
		"chips":                func(s *job.Spec) { s.Ask.Chips = -1 },
		"min_chips":            func(s *job.Spec) { s.Ask.Chips, s.Ask.MinChips = 2, 3 },
		"objective":            func(s *job.Spec) { s.Ask.Objective = "soonest" },
		"group_min":            func(s *job.Spec) { s.Ask.GroupMin = -1 },
		"chip_types":           func(s *job.Spec) { s.Ask.Chips, s.Ask.ChipTypes = 1, []string{strings.Repeat("x", 300)} },
		"command.argv":         func(s *job.Spec) { s.Command.Argv = []string{"a", "\xff"} },
		"command.env":          func(s *job.Spec) { s.Command.Env = []string{"=x"} },
		"command.files":        func(s *job.Spec) { s.Command.Files = map[string][]byte{"x/../../y": nil} },
	} {
		sp := spec(1)
		change(&sp)
		if _, err := newShell(1).k.Create(t.Context(), sp); !fault.Is(err, fault.Invalid) || fault.As(err).Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func FuzzProgress(f *testing.F) {
	f.Add("{\"step\":1}\n{\"step\":\"x\"}\n[]\n\n{\"step\":1e400}\n{")
	f.Fuzz(func(t *testing.T, text string) {
		s := newShell(1)
		j := mustCreate(t, s.k, spec(1))
		mustPass(t, s.k)
		s.w.at(j.ID, 1).progress = text
		lines, next, _, err := s.k.Progress(t.Context(), project, j.ID, job.Cursor{}, 0)
		if err != nil || next.Offset > int64(len(text)) {
			t.Fatal(next, err)
		}
		for _, l := range lines {
			if !json.Valid(l.Data) || l.Attempt != 1 {
				t.Errorf("handed on %q", l.Data)
			}
		}
		job.Merge(lines)
	})
}

func FuzzCursor(f *testing.F) {
	for _, s := range []string{"", "1:0", "2:1024", "-1:3", "1:2:3", "999999999999999999999:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := job.ParseCursor(s)
		if err != nil {
			return
		}
		if back, err := job.ParseCursor(c.String()); err != nil || back != c || c.Attempt < 0 || c.Offset < 0 {
			t.Errorf("%q reads as %v, and that as %v, %v", s, c, back, err)
		}
	})
}
