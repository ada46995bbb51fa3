package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a program on a terminal of its own.
type terminal struct {
	t      *testing.T
	keys   *os.File // what is typed; what is seen comes from it too
	cmd    *exec.Cmd
	mu     sync.Mutex
	screen bytes.Buffer
	ended  chan error
}

// open starts a command on a new terminal.
func open(t *testing.T, home string, args ...string) *terminal {
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keys.Close() })
	if err := unix.IoctlSetPointerInt(int(keys.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(keys.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	if err := unix.IoctlSetWinsize(int(keys.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 100}); err != nil {
		t.Fatal(err)
	}
	term := &terminal{t: t, keys: keys, cmd: command(home, args...), ended: make(chan error, 1)}
	term.cmd.Env = append(term.cmd.Env, "TERM=xterm")
	term.cmd.Stdin, term.cmd.Stdout, term.cmd.Stderr = tty, tty, tty
	term.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := term.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go term.watch()
	go func() { term.ended <- term.cmd.Wait() }()
	return term
}

func (term *terminal) watch() {
	buf := make([]byte, 4096)
	for {
		n, err := term.keys.Read(buf)
		term.mu.Lock()
		term.screen.Write(buf[:n])
		term.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (term *terminal) seen() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return strings.ReplaceAll(term.screen.String(), "\r\n", "\n")
}

// await waits until the terminal shows something that matches and returns what the pattern's group caught.
func (term *terminal) await(pattern string) string {
	term.t.Helper()
	re := regexp.MustCompile(pattern)
	for until := time.Now().Add(time.Minute); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		if m := re.FindStringSubmatch(term.seen()); m != nil {
			return m[len(m)-1]
		}
	}
	term.t.Fatalf("the terminal does not show %s but\n%s", pattern, term.seen())
	return ""
}

// end waits for the command's end.
func (term *terminal) end() error {
	term.t.Helper()
	select {
	case err := <-term.ended:
		return err
	case <-time.After(time.Minute):
		term.t.Fatalf("the program goes on:\n%s", term.seen())
		return nil
	}
}

func (term *terminal) press(keys string) {
	term.t.Helper()
	if _, err := term.keys.WriteString(keys); err != nil {
		term.t.Fatal(err)
	}
}

// command is a command line of a person at home with triarch on the path.
func command(home string, args ...string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	if args[0] == "triarch" {
		cmd = exec.Command(filepath.Join(bin, "triarch"), args[1:]...)
	}
	cmd.Dir = home
	cmd.Env = []string{"HOME=" + home, "PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH")}
	return cmd
}

func output(t *testing.T, home string, args ...string) string {
	t.Helper()
	cmd := command(home, args...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", args, err)
	}
	return string(out)
}

// TestAtATerminal sits before up as a person does: it shows the key, the printed curl line and the printed chat work
// from another terminal, Ctrl-C ends the control plane alone, and the next up serves what goes on.
func TestAtATerminal(t *testing.T) {
	home := t.TempDir()
	data := filepath.Join(home, ".triarch")
	t.Cleanup(func() { down(t, data) })
	conversations := filepath.Join(home, "colours.jsonl")
	text := `{"messages":[{"role":"user","content":"What is red?"},{"role":"assistant","content":"A colour."}]}` + "\n"
	if err := os.WriteFile(conversations, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	up := open(t, home, "triarch", "up", "--no-starter", "--listen", "127.0.0.1:0")
	key := up.await(`owner's key +(tri_\S+)\n`)
	file, err := os.ReadFile(filepath.Join(data, "owner.key"))
	if err != nil || strings.TrimSpace(string(file)) != key {
		t.Errorf("the terminal shows %q, owner.key has %q, %v", key, file, err)
	}
	output(t, home, "triarch", "data", "import", "colours", conversations)
	train := open(t, home, "triarch", "train", "colours", "--preset", "nano", "--context", "64", "--batch", "2", "--steps", "200")
	train.await(`\r\S+ \[█+░*\] +\d+% loss \d`) // a bar, drawn in place
	if err := train.end(); err != nil {
		t.Errorf("%v\n%s", err, train.seen())
	}
	output(t, home, "triarch", "deploy", "colours")
	replica := output(t, home, "triarch", "deployment", "show", "colours", "-o", "json")

	up.press("\x03")
	up.await("Training and replicas go on")
	if err := up.end(); err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}

	up = open(t, home, "triarch", "up", "--listen", "127.0.0.1:0")
	curl := up.await(`(?s)Ask it:\n\n  (curl .*?\}')\n`)
	if out := output(t, home, "sh", "-c", curl); !strings.Contains(out, `"finish_reason"`) {
		t.Errorf("%s\n%s", curl, out)
	}
	if again := output(t, home, "triarch", "deployment", "show", "colours", "-o", "json"); again != replica {
		t.Errorf("the replica is another:\n%s\n%s", replica, again)
	}
	converse(t, home, up.await(`from another terminal:\n\n  (.*)\n`))
	up.press("\x03")
	if err := up.end(); err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
}

// converse holds a conversation by the printed command.
func converse(t *testing.T, home, printed string) {
	chat := open(t, home, "sh", "-c", printed)
	chat.await(`colours +\(/new starts over`)
	chat.press("What is red?\n")
	chat.await(`(?s)> What is red\?\n.+\n> $`)
	chat.press("/quit\n")
	if err := chat.end(); err != nil {
		t.Errorf("%v\n%s", err, chat.seen())
	}
}
