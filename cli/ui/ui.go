// Package ui decides how the command line looks: tables and bars for people on a terminal, plain lines in a
// pipe, JSON for programs. Everything goes through a Screen, so that commands never ask what they write to.
package ui

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// Screen is where a command writes.
type Screen struct {
	Out, Err io.Writer
	In       io.Reader
	Terminal bool // Out is a terminal: bars and colours are welcome
	Width    int  // columns; 80 where unknown
	JSON     bool // -o json
	CSV      bool // -o csv: tables as comma-separated values, and nothing else
	Now      func() time.Time
}

// NewScreen is the Screen of the running process.
func NewScreen() *Screen {
	s := &Screen{Out: os.Stdout, Err: os.Stderr, In: os.Stdin, Width: 80, Now: time.Now}
	if term.IsTerminal(int(os.Stdout.Fd())) {
		s.Terminal = os.Getenv("TERM") != "dumb"
		if w, _, err := term.GetSize(int(os.Stdout.Fd())); err == nil && w > 20 {
			s.Width = w
		}
	}
	return s
}

// Printf writes a line for people; nothing under -o json and -o csv.
func (s *Screen) Printf(format string, args ...any) {
	if !s.JSON && !s.CSV {
		_, _ = io.WriteString(s.Out, Visible(fmt.Sprintf(format, args...)))
	}
}

// Visible shows in the place of characters that steer a terminal, or turn the direction of a text, a sign that there was one: names and
// texts come from hubs, providers and other people.
func Visible(s string) string {
	steers := func(r rune) bool {
		return r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 || unicode.Is(unicode.Bidi_Control, r)
	}
	if !strings.ContainsFunc(s, steers) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if steers(r) {
			return utf8.RuneError
		}
		return r
	}, s)
}

// Next prints the command that is most useful now; nothing under -o json.
func (s *Screen) Next(format string, args ...any) {
	s.Printf("\nnext: "+format+"\n", args...)
}

// Value prints v as indented JSON under -o json, else calls people.
func (s *Screen) Value(v any, people func()) error {
	if !s.JSON {
		people()
		return nil
	}
	enc := json.NewEncoder(s.Out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// Table prints rows under headings, columns as wide as their widest cell; Chinese letters count two columns.
func (s *Screen) Table(headings []string, rows [][]string) {
	if s.CSV {
		w := csv.NewWriter(s.Out)
		_ = w.Write(headings) // standard output that is closed is nobody's
		for _, row := range rows {
			plain := make([]string, len(row))
			for i, c := range row {
				plain[i] = plainCell(c)
			}
			_ = w.Write(plain)
		}
		w.Flush()
		return
	}
	widths := make([]int, len(headings))
	for _, row := range append([][]string{headings}, rows...) {
		for i, c := range row {
			widths[i] = max(widths[i], Columns(c))
		}
	}
	line := func(row []string) {
		var b strings.Builder
		for i, c := range row {
			b.WriteString(c)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-Columns(c)+2))
			}
		}
		fmt.Fprintln(s.Out, Visible(strings.TrimRight(b.String(), " ")))
	}
	upper := make([]string, len(headings))
	for i, h := range headings {
		upper[i] = strings.ToUpper(h)
	}
	line(upper)
	for _, r := range rows {
		line(r)
	}
}

// plainCell keeps a spreadsheet from taking a name for a formula.
func plainCell(c string) string {
	if c == "" || !strings.ContainsRune("=+-@\t\r", rune(c[0])) {
		return c
	}
	if _, err := strconv.ParseFloat(c, 64); err == nil {
		return c
	}
	return "'" + c
}

// Columns is how many terminal columns a string takes: East Asian wide letters take two.
func Columns(s string) int {
	n := 0
	for _, r := range s {
		n++
		if r >= 0x1100 && (r <= 0x115f || (r >= 0x2e80 && r <= 0xa4cf) || (r >= 0xac00 && r <= 0xd7a3) ||
			(r >= 0xf900 && r <= 0xfaff) || (r >= 0xfe30 && r <= 0xfe6f) || (r >= 0xff00 && r <= 0xff60) || (r >= 0x1f300 && r <= 0x1faff)) {
			n++
		}
	}
	return n
}

// Money prints micro-units as a decimal amount: 1500000 is "1.50".
func Money(micros int64) string {
	sign := ""
	if micros < 0 {
		sign, micros = "-", -micros
	}
	frac := strings.TrimRight(fmt.Sprintf("%06d", micros%1_000_000), "0")
	for len(frac) < 2 {
		frac += "0"
	}
	return fmt.Sprintf("%s%d.%s", sign, micros/1_000_000, frac)
}

// ParseMoney reads "1.50" (units, at most six decimals) or "120u" (micro-units) into micro-units.
func ParseMoney(s string) (int64, error) {
	bad := fmt.Errorf("%q is not an amount of money: write 1.50, or 120u for micro-units", s)
	if u, ok := strings.CutSuffix(s, "u"); ok {
		n, rest := digits(u)
		if rest != "" || u == "" || len(u) > 18 {
			return 0, bad
		}
		return n, nil
	}
	whole, frac, _ := strings.Cut(s, ".")
	if whole == "" || len(whole) > 12 || len(frac) > 6 {
		return 0, bad
	}
	w, rest1 := digits(whole)
	f, rest2 := digits(frac + strings.Repeat("0", 6-len(frac)))
	if rest1 != "" || rest2 != "" {
		return 0, bad
	}
	return w*1_000_000 + f, nil
}

func digits(s string) (n int64, rest string) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, s
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, ""
}

// Bytes prints a size: 1536 is "1.5 KiB".
func Bytes(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

// Ago prints how long before now t was: "5s", "3m", "2h", "4d"; "-" for a zero time.
func Ago(now, t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := now.Sub(t)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// Spark draws values as a line of eight-step bars, squeezed to width columns by averaging.
func Spark(values []float64, width int) string {
	if len(values) == 0 || width <= 0 {
		return ""
	}
	width = min(width, len(values))
	squeezed := make([]float64, width)
	for i := range squeezed {
		lo, hi := i*len(values)/width, (i+1)*len(values)/width
		for _, v := range values[lo:hi] {
			squeezed[i] += v / float64(hi-lo)
		}
	}
	least, most := squeezed[0], squeezed[0]
	for _, v := range squeezed {
		least, most = min(least, v), max(most, v)
	}
	var b strings.Builder
	for _, v := range squeezed {
		step := 0
		if most > least {
			step = int((v - least) / (most - least) * 7.999)
		}
		b.WriteRune([]rune("▁▂▃▄▅▆▇█")[step])
	}
	return b.String()
}

// Bar is a progress line: redrawn in place on a terminal, a plain line at each tenth in a pipe.
type Bar struct {
	s     *Screen
	label string
	tenth int
	last  int // runes of the line on screen
}

// Bar starts a progress line with a label.
func (s *Screen) Bar(label string) *Bar { return &Bar{s: s, label: label, tenth: -1} }

// Set draws the line at done of total with a note such as the loss.
func (b *Bar) Set(done, total int64, note string) {
	if b.s.JSON || total <= 0 {
		return
	}
	done = min(done, total)
	percent := int(done * 100 / total)
	if !b.s.Terminal {
		if percent/10 > b.tenth {
			b.tenth = percent / 10
			fmt.Fprintf(b.s.Out, "%s %3d%% %s\n", b.label, percent, note)
		}
		return
	}
	const cells = 24
	full := int(done * cells / total)
	line := fmt.Sprintf("%s [%s%s] %3d%% %s", b.label, strings.Repeat("█", full), strings.Repeat("░", cells-full), percent, note)
	if Columns(line) >= b.s.Width {
		line = string([]rune(line)[:max(0, min(utf8.RuneCountInString(line), b.s.Width-1))])
	}
	pad := max(0, b.last-utf8.RuneCountInString(line))
	b.last = utf8.RuneCountInString(line)
	fmt.Fprintf(b.s.Out, "\r%s%s", line, strings.Repeat(" ", pad))
}

// Done ends the line, with a last note.
func (b *Bar) Done(note string) {
	if b.s.JSON {
		return
	}
	if b.s.Terminal {
		fmt.Fprintf(b.s.Out, "\r%s\r", strings.Repeat(" ", b.last))
	}
	fmt.Fprintf(b.s.Out, "%s %s\n", b.label, note)
}
