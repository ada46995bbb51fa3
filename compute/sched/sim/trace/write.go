package trace

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Write writes jobs in the own form, with all its columns, so that a history can be replayed. Read gives the same jobs
// back, times to the microsecond, in the order of submission; a text with a line break is an error.
func Write(w io.Writer, jobs []Job) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "job,submit,duration,%s\n", strings.Join(ownMay, ","))
	for i := range jobs {
		j := &jobs[i]
		row := []string{j.ID, seconds(j.Submit), seconds(j.Duration), j.Cluster, j.Queue, j.Project, j.User, j.Name, j.Type, whole(j.Chips), whole(j.Share),
			strings.Join(j.ChipList, "|"), strconv.FormatFloat(float64(j.CPU)/1000, 'f', -1, 64), strconv.FormatInt(j.Memory, 10), whole(j.Priority), seconds(j.Deadline),
			strconv.FormatBool(j.Preemptible), whole(j.MinChips), whole(j.MaxChips)}
		for k, cell := range row {
			if strings.ContainsAny(cell, "\r\n") {
				return fault.New(fault.Invalid, fmt.Sprintf("Job %q has a line break in a name, which a trace cannot hold.", j.ID))
			}
			if strings.ContainsAny(cell, `",`) {
				row[k] = `"` + strings.ReplaceAll(cell, `"`, `""`) + `"`
			}
		}
		if _, err := b.WriteString(strings.Join(row, ",") + "\n"); err != nil {
			return err
		}
	}
	return b.Flush()
}

func seconds(d time.Duration) string {
	return strconv.FormatFloat(math.Round(d.Seconds()*1e6)/1e6, 'f', -1, 64)
}

func whole(n int32) string { return strconv.FormatInt(int64(n), 10) }
