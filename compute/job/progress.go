package job

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// Line is one line of progress: a JSON object a worker appended to ProgressFile, one per attempt and step.
type Line struct {
	Attempt int             `json:"attempt"`
	Step    int64           `json:"step"` // the object's "step"; -1 if it has none
	Data    json.RawMessage `json:"data"` // the whole object
}

// Cursor is a place in the progress of a job, across its attempts. The zero value is the beginning.
type Cursor struct {
	Attempt int
	Offset  int64 // bytes in that attempt's progress file
}

// String is the form in which a cursor crosses the wire: "attempt:offset".
func (c Cursor) String() string { return fmt.Sprintf("%d:%d", c.Attempt, c.Offset) }

// ParseCursor reads what String wrote; the empty string is the beginning.
func ParseCursor(s string) (Cursor, error) {
	var c Cursor
	if s == "" {
		return c, nil
	}
	var rest string
	if n, _ := fmt.Sscanf(s, "%d:%d%s", &c.Attempt, &c.Offset, &rest); n != 2 || c.Attempt < 0 || c.Offset < 0 {
		return Cursor{}, fmt.Errorf("%q is no place in a job's progress; it looks like 2:1024", s)
	}
	return c, nil
}

// parseLines cuts whole lines into Lines and drops what is no JSON object, such as a line torn by a crash.
func parseLines(attempt int, data []byte) []Line {
	var out []Line
	for line := range bytes.Lines(data) {
		line = bytes.TrimSpace(line)
		var head struct {
			Step *int64 `json:"step"`
		}
		if len(line) == 0 || line[0] != '{' || json.Unmarshal(line, &head) != nil {
			continue
		}
		step := int64(-1)
		if head.Step != nil {
			step = *head.Step
		}
		out = append(out, Line{Attempt: attempt, Step: step, Data: json.RawMessage(bytes.Clone(line))})
	}
	return out
}

// Merge turns the lines of all attempts, in the order Progress gives them, into the history that led to the
// result: where an attempt went back to a checkpoint and did steps again, what the earlier attempt wrote for
// those steps and the ones after them is dropped. One line is left per step; lines without a step are left out.
func Merge(lines []Line) []Line {
	var out []Line
	for _, l := range lines {
		if l.Step < 0 {
			continue
		}
		for len(out) > 0 && out[len(out)-1].Step >= l.Step {
			out = out[:len(out)-1]
		}
		out = append(out, l)
	}
	return slices.Clip(out)
}
