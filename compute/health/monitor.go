package health

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/internal/fault"
)

// Store keeps the boards of machines. Every change is durable when the method returns.
type Store interface {
	// Board gives what was stored last; nil without an error where nothing was.
	Board(ctx context.Context, machine string) ([]byte, error)
	SetBoard(ctx context.Context, machine string, board []byte) error
}

// Monitor looks at a machine's devices now and then, and has follow what follows. All fields are set before the first call;
// its methods may be called from any goroutine.
type Monitor struct {
	Machine string
	Look    func(ctx context.Context) (Scan, error)
	Store   Store
	// Drain has a node take no new work, or take it again; asked for the same again, it does nothing. It is not called while Monitor holds a lock.
	Drain func(ctx context.Context, node string, draining bool, reason string) error
	// Apply is told of the devices after each pass and each change by people. It may be called with the same again.
	Apply func(nodes []Node)
	Log   *slog.Logger

	once   sync.Once
	turn   chan struct{} // one pass at a time
	looked time.Time     // when the last one began; guarded by turn

	mu     sync.Mutex
	vain   bool // somebody waited for a look in vain since the last one that came to its end
	board  Board
	loaded bool
}

// Reason is what the reason of a drain by health begins with.
const Reason = "a device failed: "

// load reads the stored board once. It is called with mu held.
func (m *Monitor) load(ctx context.Context) error {
	if m.loaded {
		return nil
	}
	text, err := m.Store.Board(ctx, m.Machine)
	if err != nil {
		return err
	}
	var b Board
	if text != nil {
		if err := json.Unmarshal(text, &b); err != nil {
			m.Log.Warn("what was known of this machine's devices cannot be read; it begins anew", "error", err)
			b = Board{}
		}
	}
	m.board, m.loaded = b, true
	return nil
}

// save stores the board. It is called with mu held; what could not be stored is read again, so that nothing follows from it.
func (m *Monitor) save(ctx context.Context) error {
	text, err := json.Marshal(m.board)
	if err == nil {
		err = m.Store.SetBoard(ctx, m.Machine, text)
	}
	m.loaded = err == nil
	return err
}

// Start brings up what was stored before, without a look.
func (m *Monitor) Start(ctx context.Context) error {
	m.mu.Lock()
	err := m.load(ctx)
	nodes := m.nodes()
	m.mu.Unlock()
	if err == nil {
		m.Apply(nodes)
	}
	return err
}

// enter waits for the turn to look, as long as ctx lasts: vendors' tools may hang.
func (m *Monitor) enter(ctx context.Context) error {
	m.once.Do(func() { m.turn = make(chan struct{}, 1) })
	select {
	case m.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fault.Wrap(ctx.Err(), "waiting for a look at the devices")
	}
}

func (m *Monitor) leave() { <-m.turn }

// Pass looks once.
func (m *Monitor) Pass(ctx context.Context) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.leave()
	return m.pass(ctx)
}

// pass is Pass in its turn.
func (m *Monitor) pass(ctx context.Context) error {
	scan, err := m.Look(ctx)
	if err != nil {
		return err
	}
	m.looked = scan.Began
	m.mu.Lock()
	m.vain = false
	happened, err := m.observe(ctx, scan)
	nodes := m.nodes()
	m.mu.Unlock()
	if err != nil {
		return fault.Wrap(err, "keeping what is known of devices")
	}
	for _, e := range happened {
		level := slog.LevelInfo
		if e.Level >= chip.RestartTask {
			level = slog.LevelWarn
		}
		m.Log.Log(ctx, level, "device", "node", e.Node, "id", e.ID, "level", e.Level.String(), "code", e.Code, "says", e.Says)
	}
	m.Apply(nodes)
	return m.drain(ctx, nodes)
}

func (m *Monitor) observe(ctx context.Context, scan Scan) ([]Event, error) {
	if err := m.load(ctx); err != nil {
		return nil, err
	}
	happened, changed := m.board.Observe(scan)
	if !changed {
		return happened, nil
	}
	return happened, m.save(ctx)
}

// drain tells nodes to take no new work, or to take it again, where that was not done yet.
func (m *Monitor) drain(ctx context.Context, nodes []Node) error {
	for _, n := range nodes {
		want := n.Drain != ""
		if want == n.Done {
			continue
		}
		if err := m.Drain(ctx, n.Name, want, Reason+n.Drain); err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
		if err := m.done(ctx, n.Name, want); err != nil {
			return err
		}
	}
	return nil
}

func (m *Monitor) done(ctx context.Context, node string, done bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.load(ctx); err != nil {
		return err
	}
	for i := range m.board.Nodes {
		if n := &m.board.Nodes[i]; n.Name == node {
			n.Done = done
		}
	}
	return m.save(ctx)
}

// Loop looks at once and then whenever tick says so, until ctx ends. The same failure is told once.
func (m *Monitor) Loop(ctx context.Context, tick <-chan time.Time) {
	told := ""
	for ctx.Err() == nil {
		switch err := m.Pass(ctx); {
		case err != nil && ctx.Err() == nil && err.Error() != told:
			told = err.Error()
			m.Log.Error("the devices of this machine cannot be looked after; it is tried again", "error", err)
		case err == nil:
			told = ""
		}
		select {
		case <-ctx.Done():
		case <-tick:
		}
	}
}

// Since looks at once, unless a look began after a time: for somebody who saw work on a device fail then. It waits no longer than ctx
// lasts, and after it did so in vain it waits no more until a look came to its end, for many may ask while a tool hangs.
func (m *Monitor) Since(ctx context.Context, t time.Time) (err error) {
	m.mu.Lock()
	vain := m.vain
	m.mu.Unlock()
	if vain {
		return fault.New(fault.Unavailable, "The last look at the devices did not come to its end.")
	}
	defer func() {
		if ctx.Err() != nil {
			m.mu.Lock()
			m.vain = true
			m.mu.Unlock()
		}
	}()
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.leave()
	if m.looked.After(t) {
		return nil
	}
	return m.pass(ctx)
}

// Resume has the devices of a node take work again in spite of what is wrong with them; false for a node that has none of its own.
func (m *Monitor) Resume(ctx context.Context, node string) (bool, error) {
	m.mu.Lock()
	if err := m.load(ctx); err != nil {
		m.mu.Unlock()
		return false, err
	}
	known := m.board.Resume(node)
	var err error
	if known {
		err = m.save(ctx)
	}
	nodes := m.nodes()
	m.mu.Unlock()
	if known && err == nil {
		m.Apply(nodes)
	}
	return known, err
}

// Events are what happened to a node's devices, the newest first.
func (m *Monitor) Events(node string) (list []Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range slices.Backward(m.board.Events) {
		if e.Node == node {
			list = append(list, e)
		}
	}
	return list
}

// nodes copies the devices. It is called with mu held.
func (m *Monitor) nodes() []Node {
	out := slices.Clone(m.board.Nodes)
	for i := range out {
		out[i].Slots = slices.Clone(out[i].Slots)
	}
	return out
}
