package trace

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/internal/fault"
)

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	text := rapid.StringMatching(`([a-z",|é ][a-z",é]*[a-z"é])?`)
	rapid.Check(t, func(t *rapid.T) {
		var jobs []Job
		at := time.Duration(0)
		for i := range rapid.IntRange(1, 20).Draw(t, "jobs") {
			at += time.Duration(rapid.IntRange(0, 1e9).Draw(t, "gap")) * time.Microsecond
			j := rigid(int32(i+2), fmt.Sprintf("%d,%q", i, text.Draw(t, "id")), at, time.Duration(rapid.Int64Range(0, 1e12).Draw(t, "duration"))*time.Microsecond, rapid.Int32Range(0, 100).Draw(t, "chips"))
			for _, s := range []*string{&j.Cluster, &j.Queue, &j.Project, &j.User, &j.Name, &j.Type} {
				*s = trimmed(text.Draw(t, "text"))
			}
			j.CPU, j.Memory = rapid.Int64Range(1, 1e6).Draw(t, "cpu"), rapid.Int64Range(0, 1e6).Draw(t, "memory")
			j.Priority, j.Preemptible = rapid.Int32Range(-9, 9).Draw(t, "priority"), rapid.Bool().Draw(t, "preemptible")
			if rapid.Bool().Draw(t, "deadline") {
				j.Deadline = j.Submit + time.Hour
			}
			if j.Chips > 1 {
				j.MinChips, j.MaxChips = rapid.Int32Range(1, j.Chips).Draw(t, "min"), rapid.Int32Range(j.Chips, 200).Draw(t, "max")
				j.ChipList = []string{"a", "b"}
			}
			jobs = append(jobs, j)
		}
		var b bytes.Buffer
		if err := Write(&b, jobs); err != nil {
			t.Fatal(err)
		}
		got, _, err := Read(&b, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(jobs, got); diff != "" {
			t.Fatal(diff)
		}
	})
	j := rigid(1, "a\nb", 0, 1, 1)
	if err := Write(&bytes.Buffer{}, []Job{j}); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
}

func trimmed(s string) string { return string(bytes.TrimSpace([]byte(s))) }
