package registry

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// card makes the Markdown card of a version from what is known of it.
func card(v Version) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n", v.Model)
	s := v.Shape
	fmt.Fprintf(&b, "A %s model of %s parameters, vocabulary %d, context %d tokens, %s weights.\n", s.Arch, group(s.Params), s.Vocab, s.Context, s.DType)
	if s.Quantisation != "" {
		fmt.Fprintf(&b, "Its weights are quantised: %s.\n", s.Quantisation)
	}
	if s.Chat {
		b.WriteString("It has a chat template.\n")
	}
	for _, line := range slices.Concat([]string{s.Unknown, s.Foreign}, s.Notes) {
		if line != "" {
			b.WriteString(line + "\n")
		}
	}
	b.WriteString("\n## Where it comes from\n\n")
	l := v.Lineage
	for _, row := range [][2]string{
		{"Run", l.RunID}, {"Data version", l.DataVersion}, {"Started from", l.Base}, {"Trained by", l.CodeVersion}, {"Source", l.Source},
		{"Origin", l.Origin}, {"Revision", l.Revision}, {"Hash of its files there", l.Hash},
	} {
		if row[1] != "" {
			fmt.Fprintf(&b, "- %s: `%s`\n", row[0], row[1])
		}
	}
	if len(l.Recipe) > 0 {
		fmt.Fprintf(&b, "- Recipe: `%s`\n", l.Recipe)
	}
	if len(v.Metrics) > 0 {
		b.WriteString("\n## Metrics\n\n| metric | value |\n|---|---|\n")
		for _, k := range slices.Sorted(maps.Keys(v.Metrics)) {
			fmt.Fprintf(&b, "| %s | %.6g |\n", k, v.Metrics[k])
		}
	}
	return b.String()
}

// group writes 1234567 as 1,234,567.
func group(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
