package sql_test

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
)

func TestAClaimIsHeldByOne(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		claim, err := db.Claim(t.Context(), "gateway")
		must(t, err)
		must(t, claim.Check(t.Context()))
		if db.Dialect() == sql.Postgres {
			if _, err := db.Claim(t.Context(), "gateway"); !fault.Is(err, fault.Conflict) {
				t.Fatalf("claimed twice: %v", err)
			}
			other, err := db.Claim(t.Context(), "control")
			must(t, err)
			must(t, other.Release())
			if other.Check(t.Context()) == nil {
				t.Fatal("a claim given back is said to stand")
			}
		}
		must(t, claim.Release())
		again, err := db.Claim(t.Context(), "gateway")
		must(t, err)
		must(t, again.Release())
	})
}

// lose ends the connection that a claim is held by, and waits until it has ended: the lock goes with the process.
func lose(t *testing.T, db *sql.DB) {
	t.Helper()
	must(t, db.Write(t.Context(), func(tx *sql.Tx) error {
		return exec(t.Context(), tx, `SELECT pg_terminate_backend(pid, 20000) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
	}))
}

// Two that believe to hold one claim: the one who took it last writes, the other cannot, not even what it had begun; its
// reads go on.
func TestOfTwoHoldersOneWrites(t *testing.T) {
	sqltest.EachDSN(t, func(t *testing.T, dsn string) {
		open := func() *sql.DB {
			db, err := sql.Open(t.Context(), dsn, slog.New(slog.DiscardHandler))
			must(t, err)
			t.Cleanup(func() { db.Close() })
			return db
		}
		one, two := open(), open()
		first, err := one.Claim(t.Context(), "control")
		must(t, err)
		must(t, one.Write(t.Context(), func(tx *sql.Tx) error { return exec(t.Context(), tx, "CREATE TABLE written (who TEXT)") }))
		write := func(db *sql.DB, who string) error {
			return db.Write(t.Context(), func(tx *sql.Tx) error { return exec(t.Context(), tx, "INSERT INTO written (who) VALUES (?)", who) })
		}
		a := one.Under(first)
		must(t, write(a, "a"))
		if one.Dialect() == sql.Postgres {
			lose(t, two)
		}
		// a is in the middle of a write when b takes the claim: b gets it only after that.
		begun, goOn, taken := make(chan struct{}), make(chan struct{}), make(chan *sql.Claim, 1)
		var once sync.Once
		ended := make(chan error, 1)
		go func() {
			ended <- a.Write(t.Context(), func(tx *sql.Tx) error {
				once.Do(func() { close(begun) })
				<-goOn
				return exec(t.Context(), tx, "INSERT INTO written (who) VALUES ('a')")
			})
		}()
		<-begun
		go func() {
			c, err := two.Claim(t.Context(), "control")
			if err != nil {
				t.Error(err)
			}
			taken <- c
		}()
		select {
		case <-taken:
			t.Fatal("the claim was taken under a write that had proven it")
		case <-time.After(50 * time.Millisecond):
		}
		close(goOn)
		must(t, <-ended)
		second := <-taken
		b := two.Under(second)
		for range 3 {
			must(t, write(b, "b"))
			if err := write(a, "late"); !fault.Is(err, fault.Conflict) || fault.As(err).Code != "claim_lost" {
				t.Fatalf("the earlier holder wrote: %v", err)
			}
		}
		for name, err := range map[string]error{"check": first.Check(t.Context()), "retake": first.Retake(t.Context())} {
			if !fault.Is(err, fault.Conflict) {
				t.Errorf("%s of what another has: %v", name, err)
			}
		}
		must(t, second.Release())
		if err := first.Retake(t.Context()); !fault.Is(err, fault.Conflict) {
			t.Errorf("taken again after another had it, with what is known from before: %v", err)
		}
		var late int
		must(t, a.Read(t.Context(), func(tx *sql.Tx) error {
			return tx.QueryRow(t.Context(), "SELECT COUNT(*) FROM written WHERE who = 'late'").Scan(&late)
		}))
		if late > 0 {
			t.Errorf("%d writes of the earlier holder are there", late)
		}
	})
}

// Many writes of two who take the claim from each other in turn: what is written never goes back to an earlier holder.
func TestHoldersTakeTurns(t *testing.T) {
	sqltest.EachDSN(t, func(t *testing.T, dsn string) {
		db, err := sql.Open(t.Context(), dsn, slog.New(slog.DiscardHandler))
		must(t, err)
		t.Cleanup(func() { db.Close() })
		must(t, db.Write(t.Context(), func(tx *sql.Tx) error {
			return exec(t.Context(), tx, "CREATE TABLE turns (n BIGINT, holder BIGINT)")
		}))
		var order atomic.Int64
		var writers sync.WaitGroup
		for holder := range int64(6) {
			c, err := db.Claim(t.Context(), "control")
			must(t, err)
			mine := db.Under(c)
			for range 3 {
				writers.Go(func() {
					for {
						err := mine.Write(t.Context(), func(tx *sql.Tx) error {
							return exec(t.Context(), tx, "INSERT INTO turns (n, holder) VALUES (?, ?)", order.Add(1), holder)
						})
						if fault.Is(err, fault.Conflict) {
							return
						}
						if err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			for end := order.Load() + 20; order.Load() < end; {
				time.Sleep(time.Millisecond)
			}
			must(t, c.Release()) // and goes on writing, as one that does not know it
		}
		last, err := db.Claim(t.Context(), "control")
		must(t, err)
		writers.Wait()
		must(t, last.Release())
		var back int
		must(t, db.Read(t.Context(), func(tx *sql.Tx) error {
			return tx.QueryRow(t.Context(), "SELECT COUNT(*) FROM turns a JOIN turns b ON a.n < b.n AND a.holder > b.holder").Scan(&back)
		}))
		if back > 0 {
			t.Errorf("%d writes of a holder came after those of the next", back)
		}
	})
}

// A claim whose connection the server ended is taken again, with the same number, unless another had it.
func TestAClaimIsTakenAgain(t *testing.T) {
	db, err := sql.Open(t.Context(), sqltest.Postgres(t), slog.New(slog.DiscardHandler))
	must(t, err)
	defer db.Close()
	claim, err := db.Claim(t.Context(), "control")
	must(t, err)
	lose(t, db)
	mine := db.Under(claim)
	touch := func() error {
		return mine.Write(t.Context(), func(tx *sql.Tx) error { return exec(t.Context(), tx, "SELECT 1") })
	}
	must(t, touch()) // nobody has it: what this one knows is still true
	must(t, claim.Retake(t.Context()))
	must(t, claim.Check(t.Context()))
	must(t, touch())
	if _, err := db.Claim(t.Context(), "control"); !fault.Is(err, fault.Conflict) {
		t.Fatalf("claimed twice: %v", err)
	}
	must(t, claim.Release())
	again, err := db.Claim(t.Context(), "control")
	must(t, err)
	must(t, again.Release())
}

// A claim whose connection the server ended must say so: somebody else can take it.
func TestAClaimKnowsWhenItIsLost(t *testing.T) {
	db, err := sql.Open(t.Context(), sqltest.Postgres(t), slog.New(slog.DiscardHandler))
	must(t, err)
	defer db.Close()
	claim, err := db.Claim(t.Context(), "gateway")
	must(t, err)
	lose(t, db)
	if err := claim.Check(t.Context()); !fault.Is(err, fault.Unavailable) {
		t.Fatalf("a lost claim: %v", err)
	}
}

func TestADatabaseIsBoundOnce(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		if _, err := db.Bound(t.Context()); !fault.Is(err, fault.NotFound) {
			t.Fatalf("a new database is bound: %v", err)
		}
		first := sql.Installation{ID: "inst_a", Node: "node_a"}
		for _, want := range []sql.Installation{first, {ID: "inst_b", Node: "node_b"}} {
			got, err := db.Bind(t.Context(), want)
			must(t, err)
			if got != first {
				t.Fatalf("bound to %+v", got)
			}
		}
		if got, err := db.Bound(t.Context()); err != nil || got != first {
			t.Fatalf("%+v, %v", got, err)
		}
	})
}
