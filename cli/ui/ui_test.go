package ui

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestMoneyRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, 1e15).Draw(t, "micros")
		back, err := ParseMoney(Money(n))
		if err != nil || back != n {
			t.Fatalf("%d -> %s -> %d, %v", n, Money(n), back, err)
		}
	})
	for in, want := range map[string]int64{"1.50": 1_500_000, "120u": 120, "3": 3_000_000, "0.000001": 1} {
		if got, err := ParseMoney(in); err != nil || got != want {
			t.Errorf("%s: %d, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "u", "-1", "1.2345678", "1e3", "x", ".5", "1,5", "9999999999999999999u"} {
		if got, err := ParseMoney(in); err == nil {
			t.Errorf("%q read as %d", in, got)
		}
	}
}

func TestTableAlignsWideLetters(t *testing.T) {
	var b bytes.Buffer
	s := &Screen{Out: &b}
	s.Table([]string{"name", "n"}, [][]string{{"账本", "1"}, {"ab", "22"}})
	want := "NAME  N\n账本  1\nab    22\n"
	if b.String() != want {
		t.Fatalf("got\n%s", b.String())
	}
}

func TestCommaSeparatedValues(t *testing.T) {
	var b bytes.Buffer
	s := &Screen{Out: &b, CSV: true}
	s.Printf("not this\n")
	if err := s.Value(1, func() {
		s.Table([]string{"name", "n"}, [][]string{{`a "b", c`, "-1.5"}, {"=cmd()", "1e3"}, {"-x", ""}})
	}); err != nil {
		t.Fatal(err)
	}
	want := "name,n\n\"a \"\"b\"\", c\",-1.5\n'=cmd(),1e3\n'-x,\n"
	if b.String() != want {
		t.Fatalf("got\n%s", b.String())
	}
}

func TestBarInAPipeWritesAtMostElevenLines(t *testing.T) {
	var b bytes.Buffer
	bar := (&Screen{Out: &b}).Bar("training")
	for i := range 1000 {
		bar.Set(int64(i), 999, "loss 1.0")
	}
	if n := strings.Count(b.String(), "\n"); n != 11 || strings.Contains(b.String(), "\r") {
		t.Fatalf("%d lines: %q", n, b.String())
	}
}

func TestSmallForms(t *testing.T) {
	now := time.Unix(1e9, 0)
	if Ago(now, now.Add(-90*time.Second)) != "1m" || Ago(now, time.Time{}) != "-" {
		t.Error("Ago")
	}
	if Bytes(1536) != "1.5 KiB" || Bytes(7) != "7 B" {
		t.Error("Bytes")
	}
	if Spark([]float64{0, 1}, 10) != "▁█" || Spark(nil, 3) != "" {
		t.Error("Spark")
	}
}

func TestWhatSteersATerminalIsShown(t *testing.T) {
	var out bytes.Buffer
	s := &Screen{Out: &out}
	s.Printf("%s\n", "a \x1b[31mred\x1b]0;title\x07 \u009b\u202efamily\r é 模\t1")
	s.Table([]string{"x"}, [][]string{{"\x1b[2J"}})
	if want := "a �[31mred�]0;title� ��family� é 模\t1\nX\n�[2J\n"; out.String() != want {
		t.Errorf("%q", out.String())
	}
}
