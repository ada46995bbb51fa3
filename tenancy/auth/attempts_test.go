package auth

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/tenancy"
)

// ring has one key, and a clock that the test moves.
func ring(t *testing.T) (k *Keyring, secret string, now *time.Time) {
	t.Helper()
	secret, entry := key(t)
	now = new(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))
	k = NewKeyring(&source{snap: tenancy.Snapshot{Generation: 1, Keys: []tenancy.Entry{entry}}}, func() time.Time { return *now })
	if err := k.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	return k, secret, now
}

// heard is how many wrong keys from an address are answered as such until one is refused for the number of them.
func heard(t *testing.T, k *Keyring, remote string) int {
	t.Helper()
	for n := range 1000 {
		_, err := k.AuthenticateFrom(remote, "tri_wrong")
		if fault.Is(err, fault.RateLimited) {
			return n
		}
		if !fault.Is(err, fault.Unauthenticated) {
			t.Fatal(err)
		}
	}
	t.Fatal("a thousand wrong keys were heard")
	return 0
}

func TestWrongKeysAreBoundedByAddress(t *testing.T) {
	k, secret, now := ring(t)
	if n := heard(t, k, "192.0.2.1:1000"); n != wrongBurst {
		t.Errorf("%d wrong keys were heard", n)
	}
	if n := heard(t, k, "192.0.2.1:2000"); n != 0 {
		t.Errorf("%d more were heard from another port", n)
	}
	if n := heard(t, k, "192.0.2.2:1000"); n != wrongBurst {
		t.Errorf("%d were heard from another address", n)
	}
	_, err := k.AuthenticateFrom("192.0.2.1:1000", "tri_wrong")
	var many *TooMany
	if f := fault.As(err); f.Code != "too_many_wrong_keys" || !errors.As(err, &many) || many.After <= 0 || many.After > 2*time.Second {
		t.Fatalf("%v", err)
	}
	*now = now.Add(many.After)
	if n := heard(t, k, "192.0.2.1:1000"); n != 1 {
		t.Errorf("after the time named, %d were heard", n)
	}
	if _, err := k.AuthenticateFrom("192.0.2.1:1000", secret); err != nil {
		t.Errorf("a good key from such an address: %v", err)
	}
	if _, err := k.AuthenticateFrom("192.0.2.1:1000", ""); !fault.Is(err, fault.Unauthenticated) || fault.As(err).Code != "key_missing" {
		t.Errorf("no key: %v", err)
	}
	*now = now.Add(time.Hour)
	if n := heard(t, k, "192.0.2.1:1000"); n != wrongBurst {
		t.Errorf("an hour later %d were heard", n)
	}
}

func TestTheMachineItselfMayErrMoreOften(t *testing.T) {
	k, _, _ := ring(t)
	if n := heard(t, k, "127.0.0.1:1"); n != wrongBurstLocal {
		t.Errorf("%d were heard", n)
	}
	for _, remote := range []string{"127.0.0.2:1", "[::1]:1", "[::ffff:127.0.0.1]:9"} {
		if n := heard(t, k, remote); n != 0 {
			t.Errorf("from %s %d more were heard", remote, n)
		}
	}
}

func TestOneMachineHasOneAllowance(t *testing.T) {
	k, _, _ := ring(t)
	if n := heard(t, k, "[2001:db8::1]:1"); n != wrongBurst {
		t.Errorf("%d were heard", n)
	}
	if n := heard(t, k, "[2001:db8::ffff:1]:1"); n != 0 {
		t.Errorf("%d more were heard from its other address", n)
	}
	if n := heard(t, k, "[2001:db8:0:1::1]:1"); n != wrongBurst {
		t.Errorf("%d were heard from its neighbour", n)
	}
}

// TestTheTableIsBounded comes from more addresses than are remembered.
func TestTheTableIsBounded(t *testing.T) {
	k, _, now := ring(t)
	send := func(n int) (refused int) {
		for i := range n {
			if _, err := k.AuthenticateFrom(fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255), "tri_wrong"); fault.Is(err, fault.RateLimited) {
				refused++
			}
		}
		return refused
	}
	if n := send(maxAddresses + 1000); n != 1000-wrongBurstLocal {
		t.Errorf("%d were refused", n)
	}
	if n := len(k.attempts.of); n != maxAddresses+1 {
		t.Errorf("%d addresses are remembered", n)
	}
	if n := heard(t, k, "no address"); n != 0 {
		t.Errorf("%d were heard from no address", n)
	}
	*now = now.Add(time.Minute)
	if n := heard(t, k, "192.0.2.1:1"); n != wrongBurst || len(k.attempts.of) != 1 {
		t.Errorf("a minute later %d were heard and %d are remembered", n, len(k.attempts.of))
	}
}
