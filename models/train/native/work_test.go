package native

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/compute/exec/local"
	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/models/data"
	"github.com/triarch-ai/triarch/models/native/hf"
	"github.com/triarch-ai/triarch/models/native/tokenizer"
	"github.com/triarch-ai/triarch/models/native/trainer"
	"github.com/triarch-ai/triarch/models/registry"
	"github.com/triarch-ai/triarch/models/train"
	"github.com/triarch-ai/triarch/storage/blob"
)

// The test binary is also the supervisor and the worker process that the kill tests start and kill.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) == 3 && os.Args[1] == "supervise":
		os.Exit(local.Supervise(context.Background(), os.Args[2]))
	case len(os.Args) == 4 && os.Args[1] == "worker", os.Getenv("TRIARCH_TEST_WORKER") != "":
	default:
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if os.Getenv("TRIARCH_TEST_WORKER") != "" {
		fmt.Println("listening") // from here on SIGTERM is a request and no longer the end
	}
	err := Work(ctx, "", slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(ExitCode(err))
}

// bench is a job folder with data, as the keeper and executor would have made it.
type bench struct {
	t       *testing.T
	dir     string
	command job.Command
	attempt int
}

func chatData(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"messages":[{"role":"user","content":"What is %d?"},{"role":"assistant","content":"It is number %d 号."}]}`+"\n", i%17, i%17)
	}
	return b.String()
}

func textData(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"text":"The %dth line of a book that says %s."}`+"\n", i, strings.Repeat("very ", i%7)+"little")
	}
	return b.String()
}

func recipe(f data.Format) train.Recipe {
	r := train.Recipe{Preset: "nano", Dim: 32, Heads: 2, Layers: 1, FFN: 64, Vocab: 300, Context: 48, Batch: 2, Steps: 40, CheckpointEvery: 4, LR: 0.01}
	return r.Fill(f, false)
}

func newBench(t *testing.T, f data.Format, records string, r train.Recipe, base string) *bench {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "records")
	if err := os.WriteFile(path, []byte(records), 0o600); err != nil {
		t.Fatal(err)
	}
	v := data.Version{ID: "dv_1", Format: f, Ref: blob.RefOf(sha256.Sum256([]byte(records))), Bytes: int64(len(records)), Records: int64(strings.Count(records, "\n"))}
	cmd, err := New().Command(train.Task{Run: "run_1", Recipe: r, Data: v, DataPath: path, BaseDir: base, CPUs: 2, Code: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Validate(); err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, dir: filepath.Join(dir, "job"), command: cmd}
	if err := os.Mkdir(b.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return b
}

// next makes the folder and fence of the next attempt.
func (b *bench) next() *Worker {
	b.t.Helper()
	b.attempt++
	dir := filepath.Join(b.dir, "attempts", strconv.Itoa(b.attempt))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		b.t.Fatal(err)
	}
	for name, text := range b.command.Files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(b.dir, job.FenceFile), []byte(strconv.Itoa(b.attempt)), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return &Worker{JobDir: b.dir, AttemptDir: dir, Attempt: b.attempt, Log: slog.New(slog.DiscardHandler), Now: time.Now}
}

// process is an attempt in a process of its own.
func (b *bench) process() *exec.Cmd {
	w := b.next()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TRIARCH_TEST_WORKER=1", job.EnvJobDir+"="+w.JobDir, job.EnvAttemptDir+"="+w.AttemptDir, job.EnvFence+"="+strconv.Itoa(w.Attempt))
	cmd.Stderr = new(bytes.Buffer)
	return cmd
}

func (b *bench) run() error { return b.next().Run(b.t.Context()) }

// result is everything that must not depend on what happened on the way.
type result struct {
	Files  map[string][32]byte
	Result train.Result
	Curve  []registry.Point
}

func (b *bench) result() result {
	b.t.Helper()
	out := result{Files: map[string][32]byte{}}
	dir := filepath.Join(b.dir, job.OutDir, train.ModelDir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			b.t.Fatal(err)
		}
		out.Files[e.Name()] = sha256.Sum256(text)
	}
	text, err := os.ReadFile(filepath.Join(b.dir, job.OutDir, train.ResultFile))
	if err != nil {
		b.t.Fatal(err)
	}
	if err := json.Unmarshal(text, &out.Result); err != nil {
		b.t.Fatal(err)
	}
	out.Curve = b.curve()
	return out
}

// curve merges the progress of all attempts: one point a step.
func (b *bench) curve() []registry.Point {
	b.t.Helper()
	var curve []registry.Point
	for n := 1; n <= b.attempt; n++ {
		f, err := os.Open(filepath.Join(b.dir, "attempts", strconv.Itoa(n), job.ProgressFile))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			b.t.Fatal(err)
		}
		defer f.Close()
		seen := map[int]bool{}
		for dec := json.NewDecoder(f); ; {
			var p train.Progress
			if err := dec.Decode(&p); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				b.t.Fatal(err)
			}
			if p.Attempt != n || seen[p.Step] {
				b.t.Errorf("attempt %d wrote step %d of attempt %d twice", n, p.Step, p.Attempt)
			}
			seen[p.Step] = true
			for len(curve) > 0 && curve[len(curve)-1].Step >= p.Step {
				curve = curve[:len(curve)-1]
			}
			curve = append(curve, registry.Point{Step: p.Step, Loss: p.Loss, LR: p.LR})
		}
	}
	return curve
}

func TestTheWorkerTrainsBothMethods(t *testing.T) {
	for _, c := range []struct {
		format  data.Format
		records string
	}{{data.Chat, chatData(60)}, {data.JSONL, textData(60)}} {
		b := newBench(t, c.format, c.records, recipe(c.format), "")
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		r := b.result()
		first, last := r.Curve[0].Loss, r.Result.FinalLoss
		if r.Result.Steps != 40 || len(r.Curve) != 40 || last > first/2 || r.Result.Tokens <= 0 || r.Result.CodeVersion != "test" {
			t.Errorf("%s: loss from %.3f to %.3f, %+v", c.format, first, last, r.Result)
		}
		m, err := hf.Read(filepath.Join(b.dir, job.OutDir, train.ModelDir))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := m.Chat.Render([]tokenizer.Message{{Role: "user", Content: "x"}}, true); err != nil {
			t.Errorf("%s: the model cannot chat: %v", c.format, err)
		}
		if err := b.run(); err != nil { // an attempt after the end changes nothing
			t.Fatal(err)
		}
		if d := cmp.Diff(r, b.result()); d != "" {
			t.Errorf("a late attempt changed the result: %s", d)
		}
	}
}

func TestEpochsDecideTheSteps(t *testing.T) {
	r := recipe(data.Chat)
	r.Steps, r.Epochs, r.CheckpointEvery = 0, 2, 0
	b := newBench(t, data.Chat, chatData(40), r, "")
	if err := b.run(); err != nil {
		t.Fatal(err)
	}
	one := b.result().Result.Steps
	r.Epochs = 4
	b = newBench(t, data.Chat, chatData(40), r, "")
	if err := b.run(); err != nil {
		t.Fatal(err)
	}
	if two := b.result().Result.Steps; one < 2 || two < 2*one-1 || two > 2*one+1 {
		t.Errorf("2 epochs are %d steps and 4 are %d", one, two)
	}
}

func TestFineTuningStartsFromTheBase(t *testing.T) {
	b := newBench(t, data.JSONL, textData(40), recipe(data.JSONL), "")
	if err := b.run(); err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(b.dir, job.OutDir, train.ModelDir)
	r := train.Recipe{Context: 48, Batch: 2, Steps: 20}.Fill(data.Chat, true)
	tuned := newBench(t, data.Chat, chatData(40), r, base)
	if err := tuned.run(); err != nil {
		t.Fatal(err)
	}
	before, after := b.result(), tuned.result()
	if before.Files["tokenizer.json"] != after.Files["tokenizer.json"] {
		t.Error("fine-tuning changed the tokenizer")
	}
	if before.Files["model.safetensors"] == after.Files["model.safetensors"] {
		t.Error("fine-tuning changed nothing")
	}
}

// A worker killed at random points, and started again each time, ends with the bits of an undisturbed one.
func TestKilledWorkersEndInTheSameBits(t *testing.T) {
	r := recipe(data.Chat)
	r.Steps, r.CheckpointEvery = 150, 10
	undisturbed := newBench(t, data.Chat, chatData(60), r, "")
	cmd := undisturbed.process()
	start := time.Now()
	if out := cmd.Run(); out != nil {
		t.Fatalf("%v\n%s", out, cmd.Stderr)
	}
	took := time.Since(start)
	want := undisturbed.result()

	b := newBench(t, data.Chat, chatData(60), r, "")
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	kills := 0
	for done := false; !done; {
		cmd := b.process()
		heard := make(chan struct{})
		cmd.Stdout = &firstWrite{heard: heard}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		var kill <-chan time.Time
		if kills < 12 {
			kill = time.After(time.Duration(rng.Int64N(int64(took / 2))))
		}
		signal := syscall.SIGKILL
		if kills%4 == 3 {
			signal = syscall.SIGTERM // saves and ends
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("%v\n%s", err, cmd.Stderr)
			}
			done = true
		case <-kill:
			if signal == syscall.SIGTERM { // a process that has not begun to listen dies of it, as of any signal
				<-heard
			}
			if err := cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
			err := <-ended
			done = err == nil
			if code := cmd.ProcessState.ExitCode(); signal == syscall.SIGTERM && err != nil && code != job.ExitStopped {
				t.Fatalf("exit code %d after SIGTERM: %s", code, cmd.Stderr)
			}
			kills++
		}
	}
	got := b.result()
	t.Logf("%d kills, %d attempts", kills, b.attempt)
	if kills < 1 {
		t.Errorf("%d kills met a worker", kills)
	}
	// A kill between a checkpoint and its progress line leaves that line out; every line there is must agree.
	want.Curve = only(want.Curve, got.Curve)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("after %d kills: %s", kills, d)
	}
}

// firstWrite closes heard when the process has written something.
type firstWrite struct {
	heard chan struct{}
	once  sync.Once
}

func (w *firstWrite) Write(p []byte) (int, error) {
	w.once.Do(func() { close(w.heard) })
	return len(p), nil
}

// only keeps the points of a whose steps b has too.
func only(a, b []registry.Point) []registry.Point {
	var out []registry.Point
	for _, p := range a {
		for _, q := range b {
			if p.Step == q.Step {
				out = append(out, p)
			}
		}
	}
	return out
}

// An attempt that a newer one has superseded writes nothing any more: no checkpoint, no result, no failure.
func TestASupersededAttemptWritesNothing(t *testing.T) {
	b := newBench(t, data.Chat, chatData(20), recipe(data.Chat), "")
	old := b.next()
	b.next()
	if err := old.Run(t.Context()); !errors.Is(err, job.ErrSuperseded) {
		t.Fatalf("it ended with %v", err)
	}
	for _, dir := range []string{old.state(), old.out()} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			t.Errorf("it wrote %s", e.Name())
		}
	}
}

// What trying again cannot mend is said in out/failure.json, what it may mend is not.
func TestHopelessFailuresAreSaid(t *testing.T) {
	empty := `{"messages":[{"role":"user","content":"` + strings.Repeat("long ", 100) + `"},{"role":"assistant","content":"a"}]}` + "\n"
	b := newBench(t, data.Chat, empty, recipe(data.Chat), "")
	if err := b.run(); !fault.Is(err, fault.Invalid) {
		t.Fatalf("data with nothing to learn: %v", err)
	}
	var f train.Failure
	text, err := os.ReadFile(filepath.Join(b.dir, job.OutDir, train.FailureFile))
	if err != nil || json.Unmarshal(text, &f) != nil || f.Attempt != 1 || !strings.Contains(f.Reason, "learn") {
		t.Fatalf("%s %v", text, err)
	}

	b = newBench(t, data.Chat, chatData(20), recipe(data.Chat), "")
	var p plan
	if err := json.Unmarshal(b.command.Files[PlanFile], &p); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.Data, []byte(chatData(21)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.run(); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Fatalf("damaged data: %v", err)
	}
	if _, err := os.Stat(filepath.Join(b.dir, job.OutDir, train.FailureFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("damaged data is called hopeless, though it can be restored")
	}
}

// A full disk is the machine's fault, from however deep it is told.
func TestAFullDiskIsTheMachines(t *testing.T) {
	full := &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
	for _, err := range []error{full, fault.Wrap(full, "writing checkpoint-3"), errors.Join(errors.New("x"), fault.Wrap(full, "y"))} {
		if code := ExitCode(err); code != job.ExitMachine {
			t.Errorf("%v ends with %d", err, code)
		}
	}
	if code := ExitCode(fault.Wrap(errors.New("no"), "writing")); code != 1 {
		t.Errorf("another failure ends with %d", code)
	}
	if code := ExitCode(errors.Join(trainer.ErrStopped, full)); code != job.ExitStopped {
		t.Errorf("a stop ends with %d", code)
	}
}

func TestStoppedBeforeTrainingIsStopped(t *testing.T) {
	b := newBench(t, data.Chat, chatData(20), recipe(data.Chat), "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.next().Run(ctx); ExitCode(err) != job.ExitStopped {
		t.Fatalf("%v", err)
	}
	if err := b.run(); err != nil {
		t.Fatal(err)
	}
}

func TestEstimates(t *testing.T) {
	tr := New()
	estimate := func(r train.Recipe, v data.Version) train.Estimate {
		t.Helper()
		e, err := tr.Estimate(t.Context(), train.Task{Recipe: r.Fill(v.Format, false), Data: v, CPUs: 1})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	v := data.Version{ID: id.Default().New("dv"), Format: data.Chat, Bytes: 1 << 20, Records: 5000}
	nano, medium := estimate(train.Recipe{Preset: "nano", Steps: 100}, v), estimate(train.Recipe{Preset: "medium", Steps: 100}, v)
	if nano.Steps != 100 || nano.Tokens != 100*8*128 || nano.Duration <= 0 || nano.MemoryBytes < nano.Params*16 {
		t.Errorf("nano: %+v", nano)
	}
	if medium.Params < 20_000_000 || medium.TokensPerSecond >= nano.TokensPerSecond || medium.MemoryBytes <= nano.MemoryBytes {
		t.Errorf("medium: %+v", medium)
	}
	if two := estimate(train.Recipe{Preset: "nano", Epochs: 2}, v); two.Steps < 2 {
		t.Errorf("two epochs: %+v", two)
	}
	if len(tr.speeds) != 2 {
		t.Errorf("%d shapes were measured for two", len(tr.speeds))
	}
}
