package logfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func open(t *testing.T, path string, limit int64, keep int) *File {
	t.Helper()
	f, err := Open(path, limit, keep)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestFilesAreBoundedAndTheOldestGoes(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "up.log")
	f := open(t, path, 20, 2)
	for i := range 100 {
		if _, err := fmt.Fprintf(f, "line %03d\n", i); err != nil {
			t.Fatal(err)
		}
	}
	if got := content(t, path+".2") + content(t, path+".1") + content(t, path); got != "line 094\nline 095\nline 096\nline 097\nline 098\nline 099\n" {
		t.Errorf("kept %q", got)
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 3 {
		t.Errorf("%v, %v", all, err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
}

func TestGoesOnWhereAnEarlierProcessEnded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "up.log")
	first := open(t, path, 20, 1)
	fmt.Fprint(first, "one\n")
	first.Close()
	if _, err := first.Write([]byte("x")); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	again := open(t, path, 20, 1)
	fmt.Fprint(again, "two\n")
	if got := content(t, path); got != "one\ntwo\n" {
		t.Errorf("%q", got)
	}
	long := strings.Repeat("x", 50)
	fmt.Fprint(again, long)
	if content(t, path) != long || content(t, path+".1") != "one\ntwo\n" {
		t.Error("a write longer than the limit is not whole in a file of its own")
	}
}

func TestNoneKeptAndWritersAtOnce(t *testing.T) {
	dir := t.TempDir()
	f := open(t, filepath.Join(dir, "up.log"), 64, 0)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				fmt.Fprintf(f, "12345678\n")
			}
		})
	}
	wg.Wait()
	text := content(t, f.Path())
	if len(text) > 64 || strings.Trim(text, "12345678\n") != "" || len(text)%9 != 0 {
		t.Errorf("%q", text)
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
}

// TestACrashIsInTheLog panics in a process of its own, whose standard error goes nowhere, after the file has turned.
func TestACrashIsInTheLog(t *testing.T) {
	if path := os.Getenv("LOGFILE_CRASH"); path != "" {
		f := open(t, path, 16, 1)
		if err := f.Crashes(); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(f, "the first line")
		fmt.Fprintln(f, "the second line")
		go func() { panic("beyond help") }()
		select {}
	}
	path := filepath.Join(t.TempDir(), "up.log")
	cmd := exec.Command(os.Args[0], "-test.run=^TestACrashIsInTheLog$")
	cmd.Env = append(os.Environ(), "LOGFILE_CRASH="+path)
	if err := cmd.Run(); err == nil {
		t.Fatal("the process did not crash")
	}
	if got := content(t, path); !strings.HasPrefix(got, "the second line\n") || !bytes.Contains([]byte(got), []byte("panic: beyond help")) {
		t.Errorf("%q", got)
	}
}
