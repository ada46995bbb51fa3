package cli

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/tidwall/gjson"
)

// bin is the folder with the program under test.
var bin string

// The binary is kept: linking it anew would take longer than the tests.
func TestMain(m *testing.M) {
	dir, err := filepath.Abs("../../bin/test")
	if err == nil {
		var out []byte
		out, err = exec.Command("go", "build", "-buildvcs=false", "-ldflags", "-s -w", "-o", filepath.Join(dir, "triarch"), "../../cmd/triarch").CombinedOutput()
		os.Stderr.Write(out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "the program cannot be built:", err)
		os.Exit(1)
	}
	bin = dir
	os.Exit(m.Run())
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata", RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			home := filepath.Join(e.WorkDir, "home")
			e.Setenv("HOME", home)
			e.Setenv("PATH", bin+string(os.PathListSeparator)+e.Getenv("PATH"))
			data := filepath.Join(home, ".triarch")
			e.Defer(func() { down(t, data) })
			return os.MkdirAll(home, 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "json": fromJSON, "next": next, "refused": refused, "busy": busy, "await": await, "certificate": certificate,
		},
	})
}

// down ends what a test left running.
func down(t *testing.T, data string) {
	if _, err := os.Stat(filepath.Join(data, "format")); err != nil {
		return
	}
	out, err := exec.Command(filepath.Join(bin, "triarch"), "down", "--data", data, "--grace", "2s").CombinedOutput()
	if err != nil {
		t.Errorf("down: %v\n%s", err, out)
	}
}

// exits CODE COMMAND...: the command ends with this exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Check(err)
		}
		code = exit.ExitCode()
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, not %s", code, args[0])
	}
}

// json PATH VARIABLE, or json PATH = VALUE: reads the last output as JSON.
func fromJSON(ts *testscript.TestScript, neg bool, args []string) {
	text := ts.ReadFile("stdout")
	if !gjson.Valid(text) {
		ts.Fatalf("the output is not JSON")
	}
	switch {
	case len(args) == 3 && args[1] == "=":
		if got := gjson.Get(text, args[0]).String(); (got == args[2]) == neg {
			ts.Fatalf("%s is %q", args[0], got)
		}
	case len(args) == 2 && !neg && gjson.Get(text, args[0]).Exists():
		ts.Setenv(args[1], gjson.Get(text, args[0]).String())
	default:
		ts.Fatalf("there is no %v", args)
	}
}

var printedNext = regexp.MustCompile(`(?m)^next: (.+)$`)

// next runs the command that the last output names as next, in a shell, as printed, and then also with the arguments
// given here.
func next(ts *testscript.TestScript, neg bool, args []string) {
	found := printedNext.FindAllStringSubmatch(ts.ReadFile("stdout"), -1)
	if neg || len(found) != 1 {
		ts.Fatalf("%d commands are named as next", len(found))
	}
	line := strings.Join(append([]string{found[0][1]}, args...), " ")
	ts.Logf("next: %s", line)
	ts.Check(ts.Exec("sh", "-c", line+" </dev/null"))
}

var sentence = regexp.MustCompile(`^error: [^\n]+\n$`)

// refused CODE PATTERN COMMAND...: the command ends with this code and nothing but one line that matches on standard
// error.
func refused(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: refused CODE PATTERN COMMAND...")
	}
	exits(ts, false, append([]string{args[0]}, args[2:]...))
	said := ts.ReadFile("stderr")
	if !sentence.MatchString(said) || !regexp.MustCompile(args[1]).MatchString(said) {
		ts.Fatalf("refused with %q", said)
	}
}

// busy VARIABLE: listens on an address until the script ends and names it.
func busy(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	ts.Setenv(args[0], l.Addr().String())
}

// await FILE: waits until the file is there.
func await(ts *testscript.TestScript, _ bool, args []string) {
	for until := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
		if time.Now().After(until) {
			ts.Fatalf("%s does not come", args[0])
		}
	}
}

// certificate NAME CERT KEY: makes a self-signed certificate for a name.
func certificate(ts *testscript.TestScript, _ bool, args []string) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: args[:1], NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	ts.Check(err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
}
