package plan

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The page stands alone, is well-formed, escapes what it is told, and what it draws stays inside its box.
func TestPageStandsAlone(t *testing.T) {
	evil := `<script>alert("x")</script>`
	own := prices(t, ownText)
	own.Name = evil
	for _, o := range []Options{{Growth: Growth{30, year}, WaitPrice: 2, Next: 1}, {Next: 1, Backtest: true}, {}} {
		o.Jobs, o.Fleets, o.Prices, o.Replicas = record4(), []Fleet{sizedFleet(t, "now", 2, 2), sizedFleet(t, evil+strings.Repeat("long", 20), 3, 4)}, []*Prices{own, prices(t, rentText)}, 2
		var b bytes.Buffer
		if err := planned(t, o).Page(&b, "A <b>title</b>"); err != nil {
			t.Fatal(err)
		}
		page := b.String()
		for _, never := range []string{"<script", "http://", "https://", "<link", "<img", "url(", "NaN", "Inf", "%!", "ZgotmplZ"} {
			if strings.Contains(page, never) {
				t.Errorf("the page has %q", never)
			}
		}
		svgs := regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(page, -1)
		if len(svgs) < 4 {
			t.Fatalf("%d plots", len(svgs))
		}
		for _, svg := range svgs {
			for d := xml.NewDecoder(strings.NewReader(svg)); ; {
				tok, err := d.Token()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatalf("%v in %.300s", err, svg)
				}
				if e, ok := tok.(xml.StartElement); ok {
					inside(t, e)
				}
			}
		}
	}
}

func inside(t *testing.T, e xml.StartElement) {
	t.Helper()
	for _, a := range e.Attr {
		var numbers []string
		switch a.Name.Local {
		case "x", "x1", "x2":
			numbers = []string{a.Value}
		case "points":
			for pair := range strings.FieldsSeq(a.Value) {
				x, _, _ := strings.Cut(pair, ",")
				numbers = append(numbers, x)
			}
		case "width":
			if strings.HasPrefix(a.Value, "-") {
				t.Errorf("a width of %s", a.Value)
			}
		}
		for _, n := range numbers {
			if v, err := strconv.ParseFloat(n, 64); err != nil || v < 0 || v > plotWidth {
				t.Errorf("%s is at %s", e.Name.Local, n)
			}
		}
	}
}

func TestAxesHoldWhatTheyShow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.Float64Range(-1e12, 1e12).Draw(t, "from")
		to := from + rapid.Float64Range(0, 1e12).Draw(t, "length")
		s := scale{from: from, to: to, a: 10, b: 500}
		ticks := s.round()
		if s.from > from+1e-6*(s.to-s.from) || s.to < to-1e-6*(s.to-s.from) || len(ticks) < 2 || len(ticks) > 12 {
			t.Fatalf("%v to %v became %v to %v with %v", from, to, s.from, s.to, ticks)
		}
	})
	for v, want := range map[float64]string{1e7: "10M", 1.5e6: "1.5M", 0: "0", -2e4: "-20k", 100: "100"} {
		if got := tick(v, money); got != want {
			t.Errorf("%v is shown as %s", v, got)
		}
	}
}
