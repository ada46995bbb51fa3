package system

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/fault"
)

// The test binary stands in for the program when supervisors and workers start it.
func TestMain(m *testing.M) {
	if handled, code := Inner(os.Args[1:]); handled {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

func start(t *testing.T, dir string) *System {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Data, cfg.Listen = dir, "127.0.0.1:0"
	s, err := Start(t.Context(), cfg, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStartsAgainAsItWas(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	if !s.First || !s.WantsStarter() || s.OwnerKey == "" {
		t.Fatalf("first start: first %v, starter %v", s.First, s.WantsStarter())
	}
	key, project := s.OwnerKey, s.Project.ID
	if st, err := os.Stat(filepath.Join(dir, "owner.key")); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("owner.key: %v %v", st, err)
	}
	if _, err := s.Keyring.Authenticate(key); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDataDir(dir); !fault.Is(err, fault.Conflict) {
		t.Fatalf("the directory of a running system was opened: %v", err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := start(t, dir)
	defer again.Stop(context.Background())
	if again.First || again.OwnerKey != key || again.Project.ID != project {
		t.Fatalf("second start: first %v, same key %v, project %s", again.First, again.OwnerKey == key, again.Project.ID)
	}
}

func TestALostOwnerKeyFileIsReplaced(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	old := s.OwnerKey
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "owner.key")); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cfg := DefaultConfig()
	cfg.Data, cfg.Listen = dir, "127.0.0.1:0"
	s, err := Start(t.Context(), cfg, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop(context.Background())
	if s.OwnerKey == "" || s.OwnerKey == old {
		t.Fatal("no new owner key")
	}
	if _, err := s.Keyring.Authenticate(s.OwnerKey); err != nil {
		t.Fatal(err)
	}
	former, err := s.Keyring.Authenticate(old) // it may be in use elsewhere: nobody is locked out
	if err != nil {
		t.Fatal(err)
	}
	if want := "triarch key revoke " + former.KeyID + " --keep-children"; strings.Count(log.String(), want) != 1 || strings.Contains(log.String(), old) {
		t.Errorf("the log does not tell of the former key by %q alone: %s", want, &log)
	}
}

func TestABusyPortLeavesNothingBehind(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := DefaultConfig()
	cfg.Data, cfg.Listen = filepath.Join(t.TempDir(), "data"), l.Addr().String()
	_, err = Start(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if !fault.Is(err, fault.Conflict) || fault.As(err).Field != "listen" {
		t.Fatalf("got %v", err)
	}
	if _, err := os.Stat(cfg.Data); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal("a data directory was made")
	}
}

func TestAFailedStartLetsGoOfEverything(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing")
	for _, path := range []string{dir, missing} {
		if _, err := startOn(t, path, "postgres://127.0.0.1:1/none?connect_timeout=1"); !fault.Is(err, fault.Unavailable) {
			t.Fatalf("started without a database: %v", err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 || left[0].Name() != "lock" {
		t.Fatalf("left behind: %v, %v", left, err)
	}
	d, err := OpenDataDir(dir)
	if err != nil {
		t.Fatalf("the directory is still held: %v", err)
	}
	d.Close()
}

// A database that fails later must not take the directory with it.
func TestAFailedStartKeepsWhatWasThere(t *testing.T) {
	dir := t.TempDir()
	base := "sqlite:" + filepath.Join(t.TempDir(), "outside.db")
	s, err := startOn(t, dir, base)
	if err != nil {
		t.Fatal(err)
	}
	name := s.Ledger.Node()
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := startOn(t, dir, "sqlite:"+filepath.Join(dir, "blobs", "no", "where.db")); err == nil {
		t.Fatal("started without a database")
	}
	if s, err = startOn(t, dir, base); err != nil || s.Ledger.Node() != name {
		t.Fatalf("after the failure: %v", err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Whoever starts it twice is told where it answers, not to take another address.
func TestASecondStartNamesTheFirst(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	defer s.Stop(context.Background())
	for _, listen := range []string{strings.TrimPrefix(s.URL, "http://"), "127.0.0.1:0"} {
		cfg := DefaultConfig()
		cfg.Data, cfg.Listen = dir, listen
		_, err := Start(t.Context(), cfg, slog.New(slog.DiscardHandler))
		text := fault.As(err).Sentence()
		if !fault.Is(err, fault.Conflict) || fault.As(err).Field != "data" || !strings.Contains(text, s.URL) || !strings.Contains(text, strconv.Itoa(os.Getpid())) {
			t.Errorf("on %s: %s", listen, text)
		}
	}
}

// With a certificate for another name, the commands on this machine go by the certificate itself.
func TestTheServedCertificateIsKnownHere(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t, "ai.example.org")
	cfg := DefaultConfig()
	cfg.Data, cfg.Listen, cfg.TLS.Cert, cfg.TLS.Key = dir, "127.0.0.1:0", cert, key
	s, err := Start(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	pin, err := readLine(filepath.Join(dir, "endpoint.sha256"))
	if err != nil || pin == "" {
		t.Fatalf("the certificate's hash: %q, %v", pin, err)
	}
	if _, err := api.New(s.URL, s.OwnerKey, api.WithHTTP(api.NewHTTP(pin))).Status(t.Context()); err != nil {
		t.Errorf("with the certificate's hash: %v", err)
	}
	for wrong, h := range map[string]*http.Client{"a strange name and issuer": api.NewHTTP(""), "another certificate": api.NewHTTP(strings.Repeat("0", 64))} {
		if _, err := api.New(s.URL, s.OwnerKey, api.WithHTTP(h)).Status(t.Context()); fault.As(err).Code != "bad_certificate" || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
	if u, err := url.Parse(s.Public); err != nil || u.Hostname() != "ai.example.org" || u.Port() == "" {
		t.Errorf("others are sent to %s", s.Public)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "endpoint.sha256")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the hash outlives the server")
	}
}

// certificate makes a self-signed one for a name and returns its files.
func certificate(t *testing.T, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}
