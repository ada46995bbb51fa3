package sqltest

import (
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// ownServer starts one PostgreSQL for the whole test process and returns its address.
var ownServer = sync.OnceValues(startServer)

// keeper runs the server in a folder that it removes at the end. Its standard input is a pipe from the test process:
// when that ends, however it ends, the pipe closes and the server goes too.
const keeper = `"$1" -D "$2" & p=$!; cat >/dev/null; kill -QUIT $p; wait $p; cd /; rm -rf "$2"`

var stdin *os.File //nolint:unused // the pipe's other end, kept open for the life of the process

func startServer() (string, error) {
	bin, err := findBin()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "triarch-postgres-")
	if err != nil {
		return "", err
	}
	who, err := account(dir)
	if err != nil {
		return "", err
	}
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", dir, "-U", "triarch", "-A", "trust", "-E", "UTF8",
		"--locale=C", "--no-sync", "--no-instructions")
	initdb.Dir, initdb.SysProcAttr = dir, &syscall.SysProcAttr{Credential: who}
	if out, err := initdb.CombinedOutput(); err != nil {
		return "", fmt.Errorf("initdb: %w\n%s", err, out)
	}
	port, err := freePort()
	if err != nil {
		return "", err
	}
	conf := fmt.Sprintf("listen_addresses='127.0.0.1'\nport=%d\nunix_socket_directories=''\nfsync=off\n"+
		"synchronous_commit=off\nfull_page_writes=off\nshared_buffers=32MB\nmax_connections=200\nlogging_collector=off\ndeadlock_timeout=20ms\n", port)
	f, err := os.OpenFile(filepath.Join(dir, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return "", err
	}
	if _, err := f.WriteString(conf); err != nil {
		return "", errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return "", err
	}
	if err := keep(bin, dir, who); err != nil {
		return "", err
	}
	addr := (&url.URL{Scheme: "postgres", User: url.User("triarch"), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		Path: "/postgres", RawQuery: "sslmode=disable"}).String()
	return addr, ready(addr, filepath.Join(dir, "server.log"))
}

func keep(bin, dir string, who *syscall.Credential) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	logFile, err := os.Create(filepath.Join(dir, "server.log"))
	if err != nil {
		return err
	}
	defer logFile.Close()
	cmd := exec.Command("/bin/sh", "-c", keeper, "sh", filepath.Join(bin, "postgres"), dir)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, r, logFile, logFile
	// Its own process group: an interrupt typed at the terminal must not reach it before the pipe closes.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	stdin = w
	return r.Close()
}

// ready waits until the server answers; starting takes a second on a slow machine.
func ready(addr, logFile string) error {
	db, err := stdsql.Open("pgx", addr)
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		if err = db.PingContext(ctx); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			text, _ := os.ReadFile(logFile)
			return fmt.Errorf("PostgreSQL did not start: %w\n%s", err, text)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// account is whom the server runs as: PostgreSQL refuses root, so root hands the folder to user postgres or nobody.
func account(dir string) (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, os.Chown(dir, int(uid), int(gid))
	}
	return nil, errors.New("PostgreSQL cannot run as root and there is no user postgres or nobody")
}

func findBin() (string, error) {
	if p, err := exec.LookPath("postgres"); err == nil {
		// initdb finds its own files beside the real program, not beside a link to it.
		if p, err = filepath.EvalSymlinks(p); err != nil {
			return "", err
		}
		return filepath.Dir(p), nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", fmt.Errorf("no PostgreSQL on this machine: %w", fs.ErrNotExist)
	}
	return filepath.Dir(found[len(found)-1]), nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
