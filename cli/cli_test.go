package cli

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/cli/ui"
	"github.com/triarch-ai/triarch/internal/fault"
)

func TestWantsJSON(t *testing.T) {
	for line, want := range map[string]bool{
		"ls -o json": true, "-ojson ls": true, "ls -o=json": true, "ls --output json": true, "ls --output=json": true,
		"ls": false, "ls -o": false, "ls -o table json": false, "ls -- -o json": false, "json": false,
	} {
		if got := wantsJSON(strings.Fields(line)); got != want {
			t.Errorf("%s: %v", line, got)
		}
	}
}

func TestParseExpiry(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]string{
		"30d": "2026-03-02T12:00:00Z", "12h": "2026-02-01T00:00:00Z", "2027-01-31": "2027-02-01T00:00:00Z",
		"2027-01-31T10:00:00+02:00": "2027-01-31T08:00:00Z",
	} {
		if got, err := parseExpiry(in, now); err != nil || got.UTC().Format(time.RFC3339) != want {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "soon", "-3d", "0d", "-1h", "2027-02-30", "99999999d"} {
		if got, err := parseExpiry(in, now); !fault.Is(err, fault.Invalid) || fault.As(err).Field != "expires" {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
}

func TestGuessFormatKeepsEveryByte(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	for _, c := range []struct{ file, text, want string }{
		{"a.txt", `{"messages":[]}`, "text"}, {"a", "hello", "text"}, {"a", "", "text"}, {"a", long, "text"},
		{"a.jsonl", `{"text":"x"}` + "\n" + long, "jsonl"}, {"-", ` {"messages":[` + "\n" + long, "chat"},
		{"a.jsonl", `{"text":"x"}` + "\n" + `{"messages":[]}`, "jsonl"},
	} {
		format, r, err := guessFormat(c.file, strings.NewReader(c.text))
		if err != nil {
			t.Fatal(err)
		}
		if back, err := io.ReadAll(r); err != nil || format != c.want || string(back) != c.text {
			t.Errorf("%s %.20q: %s, %d bytes, %v", c.file, c.text, format, len(back), err)
		}
	}
}

func TestRecipeFileFlagsAndSets(t *testing.T) {
	file := filepath.Join(t.TempDir(), "recipe.json")
	if err := os.WriteFile(file, []byte(`{"steps": 10, "lr": 0.5, "seed": 3, "preset": "tiny"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	o := &trainOptions{recipe: file, set: []string{"seed=7", "method=sft"}, run: api.NewRun{Recipe: api.Recipe{LR: 0.1}}}
	if err := o.fill(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(api.Recipe{Steps: 10, LR: 0.1, Seed: 7, Preset: "tiny", Method: "sft"}, o.run.Recipe); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []trainOptions{{set: []string{"steps"}}, {set: []string{"sped=1"}}, {set: []string{"steps=many"}}, {recipe: file + "x"}} {
		if err := bad.fill(); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// TestUnpackStaysInside sends what a hostile server could send for an export.
func TestUnpackStaysInside(t *testing.T) {
	for _, name := range []string{"../evil", "/etc/evil", "a/b", "..", ".", ""} {
		dir := filepath.Join(t.TempDir(), "to")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		err := unpack(archive(t, tar.Header{Typeflag: tar.TypeReg, Name: name, Size: 1, Mode: 0o600}), dir)
		if err == nil {
			t.Errorf("%q was taken", name)
		}
		above, e := os.ReadDir(filepath.Dir(dir))
		inside, e2 := os.ReadDir(dir)
		if e != nil || e2 != nil || len(above) != 1 || len(inside) != 0 {
			t.Errorf("%q left %v and %v", name, above, inside)
		}
	}
	dir := t.TempDir()
	link := tar.Header{Typeflag: tar.TypeSymlink, Name: "link", Linkname: "/etc/passwd"}
	if err := unpack(archive(t, link), dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "link")); !os.IsNotExist(err) {
		t.Errorf("a link was made: %v", err)
	}
	if err := unpack(strings.NewReader("no tar at all, but long enough to be read as a header"+strings.Repeat(".", 600)), dir); !fault.Is(err, fault.Unavailable) {
		t.Errorf("no tar: %v", err)
	}
}

func archive(t *testing.T, h tar.Header) io.Reader {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	if h.Size > 0 {
		w.Write([]byte("x"))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func TestPackedFolderComesBack(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{"a": "1", "b": strings.Repeat("2", 5000), ".hidden": ""} {
		if err := os.WriteFile(filepath.Join(from, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(from, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := pack(from, &b); err != nil {
		t.Fatal(err)
	}
	if err := unpack(&b, to); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(to, "b")); err != nil || len(got) != 5000 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if got, err := os.ReadDir(to); err != nil || len(got) != 3 {
		t.Errorf("%v, %v", got, err)
	}
}

// small is a model API whose model has a context of a few turns.
func small(t *testing.T, turns int, asked *[][]chatMessage) string {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/models" {
			fmt.Fprint(w, `{"data":[{"id":"only"}]}`)
			return
		}
		var req struct {
			Messages []chatMessage
			Stream   bool
		}
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			t.Error(err)
		}
		*asked = append(*asked, req.Messages)
		if len(req.Messages) > turns {
			w.WriteHeader(400)
			fmt.Fprint(w, `{"error":{"message":"Too long.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}`)
			return
		}
		last := req.Messages[len(req.Messages)-1].Content
		if last == "busy" {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(429)
			fmt.Fprint(w, `{"error":{"message":"Too many requests.","type":"requests","param":null,"code":"rate_limit_exceeded"}}`)
			return
		}
		if last == "cut" {
			fmt.Fprint(w, "data: {\"choices\":[{\"delta\":{\"content\":\"ha\"}}]}\n\n")
			return
		}
		if !req.Stream {
			fmt.Fprintf(w, `{"model":"only","choices":[{"message":{"role":"assistant","content":%q},"finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}`, "re: "+last)
			return
		}
		if last == "break" {
			fmt.Fprint(w, "data: {\"choices\":[{\"delta\":{\"content\":\"be\"}}]}\n\ndata: {\"error\":{\"message\":\"The money has run out.\",\"type\":\"insufficient_quota\",\"param\":null,\"code\":\"insufficient_quota\"}}\n\n")
			return
		}
		fmt.Fprintf(w, "data: {\"choices\":[{\"delta\":{\"content\":\"re: \"}}]}\n\n: comment\n\ndata: {\"choices\":[{\"delta\":{\"content\":%q}}]}\n\ndata: [DONE]\n\n", last)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func chatting(t *testing.T, url, input string, o *chatOptions) (string, error) {
	out, _, err := chattingAs(t, url, strings.NewReader(input), o, false)
	return out, err
}

func chattingAs(t *testing.T, url string, input io.Reader, o *chatOptions, asJSON bool) (out, errs string, err error) {
	var b, e bytes.Buffer
	a := &app{Screen: &ui.Screen{Out: &b, Err: &e, In: input, Now: time.Now, JSON: asJSON}, data: t.TempDir(), url: url, key: "k"}
	err = a.chat(context.Background(), o, "")
	return b.String(), e.String(), err
}

// What fails is told, left out of the next question, and does not end the conversation.
func TestAConversationOutlivesFailures(t *testing.T) {
	var asked [][]chatMessage
	o := &chatOptions{temperature: -1, seed: -1}
	out, errs, err := chattingAs(t, small(t, 9, &asked), strings.NewReader("one\nbusy\ncut\nbreak\ntwo"), o, false)
	if out != "re: one\nha\nbe\nre: two\n" || strings.Count(errs, "error: ") != 3 || !strings.Contains(errs, "Try again in 7 s") || !strings.Contains(errs, "broke off") {
		t.Errorf("printed %q and %q", out, errs)
	}
	if !fault.Is(err, fault.NoMoney) || !strings.Contains(err.Error(), "3 of 5") {
		t.Errorf("ended with %v", err)
	}
	if diff := cmp.Diff([]chatMessage{{"user", "one"}, {"assistant", "re: one"}, {"user", "two"}}, asked[len(asked)-1]); diff != "" {
		t.Error(diff)
	}
}

func TestChatTakesLongLinesAndTellsOfBrokenInput(t *testing.T) {
	var asked [][]chatMessage
	o := &chatOptions{temperature: -1, seed: -1}
	long, endless := strings.Repeat("x", 70_000), strings.Repeat("y", maxLine+1)
	_, errs, err := chattingAs(t, small(t, 9, &asked), strings.NewReader(long+"\n"+endless+"\nend\n"), o, false)
	if len(asked) != 2 || asked[0][0].Content != long || asked[1][2].Content != "end" || !strings.Contains(errs, "longer than 4 MiB") || !fault.Is(err, fault.TooLarge) {
		t.Errorf("%d questions, %q, %v", len(asked), errs, err)
	}
	broken := io.MultiReader(strings.NewReader("one\n"), iotest.ErrReader(os.ErrClosed))
	if _, _, err := chattingAs(t, small(t, 9, &asked), broken, o, false); !errors.Is(err, os.ErrClosed) {
		t.Errorf("broken input: %v", err)
	}
}

func TestChatAsJSON(t *testing.T) {
	var asked [][]chatMessage
	out, _, err := chattingAs(t, small(t, 9, &asked), nil, &chatOptions{message: "hi", temperature: -1, seed: -1}, true)
	var got chatAnswer
	if err != nil || json.Unmarshal([]byte(out), &got) != nil {
		t.Fatalf("%q, %v", out, err)
	}
	if got.Content != "re: hi" || got.FinishReason != "length" || gjson.GetBytes(got.Usage, "total_tokens").Int() != 5 || got.Model != "only" {
		t.Errorf("%+v", got)
	}
}

func TestChatForgetsItsOldestTurns(t *testing.T) {
	var asked [][]chatMessage
	url := small(t, 4, &asked)
	out, err := chatting(t, url, "one\ntwo\n\nthree\n/new\nfour\n/quit\nnever\n", &chatOptions{system: "be brief", temperature: -1, seed: -1})
	if err != nil || out != "re: one\nre: two\nre: three\nre: four\n" {
		t.Errorf("%q, %v", out, err)
	}
	want := [][]chatMessage{
		{{"system", "be brief"}, {"user", "one"}},
		{{"system", "be brief"}, {"user", "one"}, {"assistant", "re: one"}, {"user", "two"}},
		{{"system", "be brief"}, {"user", "one"}, {"assistant", "re: one"}, {"user", "two"}, {"assistant", "re: two"}, {"user", "three"}},
		{{"system", "be brief"}, {"user", "two"}, {"assistant", "re: two"}, {"user", "three"}},
		{{"system", "be brief"}, {"user", "four"}},
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Error(diff)
	}
	if _, err := chatting(t, small(t, 1, &asked), "", &chatOptions{system: "s", message: "alone too long", temperature: -1, seed: -1}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a question longer than the context: %v", err)
	}
}

func TestChatTellsWhyAStreamEnded(t *testing.T) {
	var asked [][]chatMessage
	out, err := chatting(t, small(t, 9, &asked), "", &chatOptions{message: "break", temperature: -1, seed: -1})
	if !fault.Is(err, fault.NoMoney) || fault.ExitCode(err) != 6 || out != "be\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestShellQuote(t *testing.T) {
	for in, want := range map[string]string{"plain-1.0/x@2": "plain-1.0/x@2", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$HOME": "'$HOME'", "a\nb": "'a\nb'"} {
		if got := shellQuote(in); got != want {
			t.Errorf("%q: %s", in, got)
		}
	}
}

func TestTheFirstModelToTryIsTheStarter(t *testing.T) {
	for want, names := range map[string][]string{"": nil, "starter": {"alpha", "starter", "zeta"}, "alpha": {"alpha", "zeta"}} {
		if got := firstModel(names); got != want {
			t.Errorf("of %v it is %q", names, got)
		}
	}
}
