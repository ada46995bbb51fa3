package meter

import (
	"bufio"
	"bytes"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/internal/id"
)

func resum(b []byte) {
	order.PutUint32(b[headerSize-4:], crc32.Checksum(b[:headerSize-4], castagnoli))
}

// promise is what the model of the ledger knows of a request.
type promise struct {
	state              slotState
	void               bool
	prompt, completion int
}

// crashed copies the segment files as a crash at this moment leaves them, after damage, and opens the copy.
func crashed(t *rapid.T, base, dir string, damage func(name string, data []byte) []byte) *Ledger {
	to, err := os.MkdirTemp(base, "crash")
	if err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.seg"))
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(f)), damage(filepath.Base(f), data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := Open(to, "node", Options{Slots: 4, SyncEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Whatever the moment of a crash, and whichever one record it tears, every other record is booked as promised: the
// settled with their counts, the open with what had been delivered.
func TestRecoveryAtAnyMoment(t *testing.T) {
	base := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(base, "ledger")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		l, err := Open(dir, "node", Options{Slots: 4, SyncEvery: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		model, entries := run(t, l)
		defer func() {
			for _, e := range entries {
				e.Void()
			}
		}()

		torn, damage := tear(t, model)
		c := crashed(t, base, dir, damage)
		defer c.Close()
		s := newShelf()
		if err := (&Shipper{Ledger: c, Store: s}).Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		compareWithModel(t, s, model, torn)
	})
}

// run does random things to a ledger and returns what a client was promised.
func run(t *rapid.T, l *Ledger) (map[id.Raw]*promise, map[id.Raw]*Entry) {
	model, entries := map[id.Raw]*promise{}, map[id.Raw]*Entry{}
	var live []id.Raw
	for n := range rapid.IntRange(1, 40).Draw(t, "steps") {
		if len(live) == 0 || rapid.IntRange(0, 2).Draw(t, "begin") == 0 {
			i := identity(uint64(n))
			e, err := l.Begin(&i)
			if err != nil {
				t.Fatal(err)
			}
			model[i.Request], entries[i.Request] = &promise{state: slotOpen}, &e
			live = append(live, i.Request)
			continue
		}
		at := rapid.IntRange(0, len(live)-1).Draw(t, "which")
		r := live[at]
		p, e := model[r], entries[r]
		switch rapid.SampledFrom([]string{"live", "live", "settle", "void"}).Draw(t, "do") {
		case "live":
			p.prompt, p.completion = 9, p.completion+rapid.IntRange(1, 5).Draw(t, "tokens")
			e.Live(tokens(p.prompt, p.completion))
			continue
		case "settle":
			p.state = slotDone
			e.Settle(Finished, tokens(p.prompt, p.completion), Work{})
		case "void":
			p.state, p.void = slotDone, true
			e.Void()
		}
		live = append(live[:at], live[at+1:]...)
	}
	return model, entries
}

// tear picks at most one record and zeroes a piece of its identity or of its settled part.
func tear(t *rapid.T, model map[id.Raw]*promise) (id.Raw, func(string, []byte) []byte) {
	victim := raw(uint64(rapid.IntRange(0, 60).Draw(t, "victim")))
	part := rapid.SampledFrom([][2]int{{0, offLive}, {offBackend, offEnd}, {offEnd, recordSize}}).Draw(t, "part")
	from := rapid.IntRange(part[0], part[1]-1).Draw(t, "from")
	p := model[victim]
	return victim, func(_ string, data []byte) []byte {
		for off := headerSize; off < len(data); off += recordSize {
			b := data[off : off+recordSize]
			if !bytes.Equal(b[offRequest:offRequest+16], victim[:]) || p == nil || b[0] == 0 {
				continue
			}
			before := string(b)
			clear(b[from:part[1]])
			switch {
			case string(b) == before: // zeros were there already
			case from < offLive:
				p.state = slotTorn
			case from < offEnd: // who was asked is not known any more
			default:
				p.state, p.void = slotOpen, false
				if Outcome(before[offOutcome]) == voided {
					p.prompt, p.completion = 0, 0
				}
			}
		}
		return data
	}
}

func compareWithModel(t *rapid.T, s *shelf, model map[id.Raw]*promise, torn id.Raw) {
	got := s.byRequest()
	for r, p := range model {
		g, ok := got[r]
		delete(got, r)
		switch {
		case p.void || p.state == slotTorn:
			if ok {
				t.Fatalf("request %s is booked but was void or torn", r)
			}
		case !ok:
			t.Fatalf("request %s is not booked", r)
		case g.Usage != tokens(p.prompt, p.completion):
			t.Fatalf("request %s booked %+v, promised %d/%d (torn %v)", r, g.Usage, p.prompt, p.completion, r == torn)
		case (g.Outcome == Cut) != (p.state == slotOpen):
			t.Fatalf("request %s has outcome %s in state %d", r, g.Outcome, p.state)
		case g.CostMicros != Bill(g.Outcome, g.Usage, g.Prices):
			t.Fatalf("request %s costs %d", r, g.CostMicros)
		}
	}
	if len(got) != 0 {
		t.Fatalf("%d records from nowhere", len(got))
	}
}

// A file cut short anywhere gives the records before the cut.
func TestTruncatedSegment(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "whole")
	l := open(t, dir, 8)
	for n := range uint64(8) {
		i := identity(n)
		e, _ := l.Begin(&i)
		e.Settle(Finished, tokens(1, int(n)), Work{})
	}
	shut(t, l)
	files, _ := filepath.Glob(filepath.Join(dir, "*.seg"))
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for cut := 0; cut <= len(whole); cut += 100 {
		to := filepath.Join(base, fmt.Sprint(cut))
		os.MkdirAll(to, 0o700)
		os.WriteFile(filepath.Join(to, filepath.Base(files[0])), whole[:cut], 0o600)
		l := open(t, to, 8)
		s := newShelf()
		ship(t, l, s)
		if want := max(0, (cut-headerSize)/recordSize); len(s.rows) != want {
			t.Errorf("cut at %d: %d records, want %d", cut, len(s.rows), want)
		}
		shut(t, l)
	}
}

// FuzzSegment recovers any bytes as a segment: no crash, and what it reads once it reads again.
func FuzzSegment(f *testing.F) {
	b := make([]byte, headerSize+3*recordSize)
	putHeader(b, "node", 5, 3)
	i := identity(1)
	putIdentity(b[headerSize:], &i)
	f.Add(bytes.Clone(b))
	putSettled(b[headerSize:], Finished, tokens(1, 2), Work{Chip: "cpu", ChipMillis: 3}, time.UnixMicro(5))
	f.Add(bytes.Clone(b))
	f.Add(b[:headerSize+recordSize+7])
	f.Add(segment1(3))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < headerSize {
			return
		}
		s := &segment{number: 5, data: bytes.Clone(data), size: slotSize(data)}
		if s.slots = int64(len(data)-headerSize) / s.size; s.slots == 0 {
			return
		}
		var first []Record
		for pass := range 2 {
			l := &Ledger{}
			l.opt.fill()
			l.recoverSlots(s)
			var records []Record
			for _, r := range l.queue {
				rec, state := s.read("node", r.slot)
				if state != slotDone {
					t.Fatalf("slot %d is in state %d after recovery", r.slot, state)
				}
				records = append(records, rec)
			}
			if pass == 0 {
				first = records
			} else if diff := cmp.Diff(first, records); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

const childEnv = "TRIARCH_METER_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		child(dir)
	}
	os.Exit(m.Run())
}

// child serves 64 endless streams, booking before each write, until it is killed.
func child(dir string) {
	l, err := Open(dir, "node", Options{Slots: 512})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	for g := range 64 {
		go func() {
			for n := 0; ; n++ {
				i := identity(uint64(g)<<32 | uint64(n))
				e, err := l.Begin(&i)
				if err != nil {
					panic(err)
				}
				made := rand.IntN(40)
				for c := 1; c <= made; c++ {
					e.Live(tokens(7, c))
					syscall.Write(1, fmt.Appendf(nil, "%d %d %d\n", g, n, c))
				}
				e.Settle(Finished, tokens(7, made), Work{})
			}
		}()
	}
	select {}
}

// Nothing that left a process killed with SIGKILL is missing from the books, and at most one write per stream is
// booked beyond what left.
func TestKilled(t *testing.T) {
	cut := 0
	for trial := range 20 {
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		delivered, stop := map[id.Raw]int{}, 500+rand.IntN(5000)
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if n == stop {
				cmd.Process.Kill()
			}
			var g, r uint64
			var c int
			if k, _ := fmt.Sscan(lines.Text(), &g, &r, &c); k == 3 {
				delivered[raw(g<<32|r)] = c
			}
		}
		cmd.Wait()
		l := open(t, dir, 8)
		s := newShelf()
		ship(t, l, s)
		booked := s.byRequest()
		for r, c := range delivered {
			if over := int(booked[r].Usage.Output) - c; over < 0 || over > 1 {
				t.Errorf("trial %d: request %s: delivered %d, booked %d", trial, r, c, booked[r].Usage.Output)
			}
		}
		cut += l.Recovered().Cut
		over := 0
		for r, b := range booked {
			if b.Usage.Output > 0 && delivered[r] == 0 {
				over++
			}
		}
		if over > 64 || l.Recovered().Cut > 64 {
			t.Errorf("trial %d: %d booked with nothing delivered; recovered %+v", trial, over, l.Recovered())
		}
		shut(t, l)
	}
	if cut == 0 {
		t.Error("no kill met an open request")
	}
}
