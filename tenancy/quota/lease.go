package quota

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Times of leases.
const (
	beatEvery = 200 * time.Millisecond // how often a node says that it lives and hears who is short
	idleAfter = 2 * time.Second        // how long unused leases are kept
	shortFor  = time.Second            // how long everything free is given back after another node was short
	dryFor    = 30 * time.Millisecond  // how long a no of the authority is believed
	restAfter = 100 * time.Millisecond // how long after a failure the authority is not asked for one more request
	placesFor = 5 * time.Second        // how long places are good after the last answer; authorities wait at least twice that
	roundTime = 5 * time.Second        // how long one question may take
	askTime   = 2 * time.Second        // how long a request waits for the answer to one
	maxRounds = 100                    // how many answers a request waits for, others being faster each time
)

// Lengths of leases of money: of so many requests, doubled while they are used up quickly.
const (
	firstStride = 16
	maxStride   = 1 << 16
	quick       = 100 * time.Millisecond
)

// plenty is asked for where the authority decides how much is fair.
const plenty = 1 << 40

// lease is what an account has of its limits. All amounts include what is used of them already.
type lease struct {
	granted int64 // money, since the book began

	// What the authority said last, and until when that is believed.
	room, others int64
	over         bool
	dry          time.Time // until when there is less money than dryNeed
	dryNeed      int64

	minute                       int64 // of the next two lines
	requests, tokens             int64
	othersRequests, othersTokens int64
	dryRequests, dryTokens       time.Time

	places, othersPlaces int64
	dryPlaces            time.Time

	needMoney, wantMoney                 int64 // to be asked for next
	needRequests, needTokens, needPlaces int64
	more                                 bool // to be topped up
	low, lowRequests, lowTokens          int64
	stride                               int64
	grew                                 time.Time // when money was asked for last

	used       time.Time
	shortUntil time.Time // another node is short
	listed     bool      // in lessor.list
	flying     bool      // in the question under way
}

// lessor keeps a book's leases. The book's lock guards it.
type lessor struct {
	book      *Book
	authority Authority
	log       *slog.Logger

	kick   chan struct{}
	active map[*account]struct{} // that have something of the authority
	list   []*account            // to be asked for next
	next   chan struct{}         // closed when the question after the one under way is answered
	flying chan struct{}         // closed when the one under way is; nil when none is

	clock    sample
	alive    time.Time // when the last question that was answered was sent
	failed   time.Time // when the last one failed; zero when it did not
	failure  error
	fenced   bool
	reported bool
}

// sample ties the authority's clock to this process's: at some moment from sent to got it was told.
type sample struct{ sent, got, told time.Time }

// NewLeased makes a book that spends leases; it admits nothing that is bounded until Keep runs.
func NewLeased(bounds Bounds, now func() time.Time, authority Authority, log *slog.Logger) *Book {
	b := NewBook(bounds, now)
	b.lessor = &lessor{book: b, authority: authority, log: log, kick: make(chan struct{}, 1), next: make(chan struct{}), active: map[*account]struct{}{}}
	return b
}

// Keep gets leases and gives them back until ctx ends. A book of NewBook needs none; for it Keep returns at once.
func (b *Book) Keep(ctx context.Context) {
	l := b.lessor
	if l == nil {
		return
	}
	l.beat(ctx)
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.kick:
		case <-tick.C:
			l.beat(ctx)
		}
		l.renew(ctx)
	}
}

// moment is now by the authority's clock; between two minutes, as far as is known, it is not sure which one it is.
func (l *lessor) moment(now time.Time) moment {
	if l.clock.told.IsZero() {
		return moment{at: now}
	}
	late := instant(now, l.clock.told.Add(now.Sub(l.clock.sent)))
	early := instant(now, l.clock.told.Add(now.Sub(l.clock.got)))
	late.sure = late.minute == early.minute
	return late
}

// hear takes what the authority told of its clock, if it is better than what is known or that is old.
func (l *lessor) hear(s sample) {
	l.alive = s.sent
	if old := l.clock; old.told.IsZero() || s.got.Sub(s.sent) <= old.got.Sub(old.sent) || s.got.Sub(old.got) > 10*time.Second {
		l.clock = s
	}
}

func (a *account) requestsHere(m moment) int64 {
	switch x := a.lease; {
	case x == nil:
		return math.MaxInt64
	case x.minute != m.minute:
		return 0
	default:
		return x.requests
	}
}

func (a *account) tokensHere(m moment) int64 {
	switch x := a.lease; {
	case x == nil:
		return math.MaxInt64
	case x.minute != m.minute:
		return 0
	default:
		return x.tokens
	}
}

// placesOf is how many requests of the account may run here; none once the authority may think this node dead.
func (b *Book) placesOf(a *account, at time.Time) int64 {
	switch {
	case a.lease == nil:
		return math.MaxInt64
	case at.Sub(b.lessor.alive) > placesFor:
		return 0
	}
	return a.lease.places
}

// told says that the authority has less than cost, as far as is known; always where there is none.
func (a *account) told(cost int64, now time.Time) bool {
	return a.lease == nil || now.Before(a.lease.dry) && cost >= a.lease.dryNeed
}

// unavailable is the refusal while no leases can be had.
func (l *lessor) unavailable() *Refusal {
	if l.fenced {
		return &Refusal{Fault: ErrFenced}
	}
	return &Refusal{Fault: fault.New(fault.Unavailable, "The limits of this request cannot be checked at the moment.", fault.Code("limits_unavailable"),
		fault.Fix("Try again in a moment."), fault.Cause(l.failure)), After: time.Second}
}

// down says that asking now would be in vain.
func (l *lessor) down(now time.Time) bool {
	return l.fenced || !l.failed.IsZero() && now.Sub(l.failed) < restAfter
}

// want notes what an account lacks, to be asked for, or says that it cannot be had.
func (l *lessor) want(a *account, lack shortOf, m moment, subject string) *Refusal {
	x := a.lease
	soon := m.end
	if x.othersRequests > 0 || x.othersTokens > 0 { // another node may give some back
		soon = min(soon, time.Second)
	}
	switch {
	case l.down(m.at):
		return l.unavailable()
	case lack.place && m.at.Before(x.dryPlaces):
		return refuse(time.Second, "concurrency", subject+" has as many requests running as it may have.", "Wait until one has ended.")
	case lack.request && x.minute == m.minute && m.at.Before(x.dryRequests):
		return refuse(soon, "requests_per_minute", subject+" has made as many requests as it may make in a minute.", "Wait and try again.")
	case lack.tokens > 0 && x.minute == m.minute && m.at.Before(x.dryTokens):
		return refuse(soon, "tokens_per_minute", subject+" has used as many tokens as it may use in a minute.", "Wait and try again.")
	}
	if x.flying {
		return nil // look again when it is answered
	}
	if lack.place {
		x.needPlaces = 1
	}
	if lack.request {
		x.needRequests = 1
	}
	x.needTokens = max(x.needTokens, lack.tokens)
	l.enlist(a)
	return nil
}

// wantMoney notes that an account lacks money for a request.
func (l *lessor) wantMoney(a *account, cost int64, now time.Time) *Refusal {
	if l.down(now) {
		return l.unavailable()
	}
	if x := a.lease; !x.flying {
		x.needMoney = max(x.needMoney, cost)
		x.wantMoney = min(x.wantMoney, math.MaxInt64-cost) + cost
		l.enlist(a)
	}
	return nil
}

// enlist has the account be part of the next question, which is asked at once.
func (l *lessor) enlist(a *account) {
	if !a.lease.listed {
		a.lease.listed = true
		l.list = append(l.list, a)
	}
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// round waits for the answer to what is asked; the book is unlocked meanwhile. It fails when nothing could be asked.
func (l *lessor) round(ctx context.Context, tries int) error {
	if tries > maxRounds {
		return l.unavailable()
	}
	answered, limit := l.flying, askTime
	if len(l.list) > 0 {
		answered = l.next
	} else if answered == nil {
		limit = time.Millisecond // the minute is about to change, or an answer has just come
	}
	t := time.NewTimer(limit)
	defer t.Stop()
	b := l.book
	b.mu.Unlock()
	defer b.mu.Lock()
	select {
	case <-answered:
	case <-t.C:
		if limit == askTime {
			return l.unavailable()
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// await says whether a request whose accounts have not cost left is to look again, after it waited for a lease, or for
// money that others hold. False is the end: there is too little, and never will be as much as least for all that the
// request holds.
func (b *Book) await(ctx context.Context, r *Reservation, cost, least int64, p *patience) (again bool, err error) {
	now := b.now()
	var short *account
	asked := false
	for _, a := range r.accounts {
		switch {
		case !a.bound.Budgeted || a.left() >= cost:
		case !a.told(cost, now):
			if refused := b.lessor.wantMoney(a, cost, now); refused != nil {
				refused.Rate = r.Rate
				return false, refused
			}
			asked = true
		case !a.busyBeside(r):
			return false, nil // nothing will come back
		default:
			short = a
		}
	}
	if asked {
		p.rounds++
		return true, b.lessor.round(ctx, p.rounds)
	}
	if p.until.IsZero() {
		p.until = now.Add(b.Patience)
	}
	rest := p.until.Sub(now)
	if short == nil || rest <= 0 || short.waiting >= maxWaiting || short.promise() < least {
		return false, nil
	}
	if short.lease != nil {
		rest = min(rest, dryFor)
	}
	return true, b.waitFor(ctx, short, rest)
}

// patience is how long a request has waited.
type patience struct {
	until  time.Time
	rounds int
}

// promise is the most money that can come back to an account.
func (a *account) promise() int64 {
	if a.lease == nil {
		return a.bound.Budget - a.spent
	}
	return min(a.bound.Budget, max(0, a.reach())+min(a.held.value(), math.MaxInt64/4)+a.lease.others)
}

// waitFor waits until there may be more money, or some time. The book is unlocked meanwhile.
func (b *Book) waitFor(ctx context.Context, a *account, rest time.Duration) error {
	if a.changed == nil {
		a.changed = make(chan struct{})
	}
	changed := a.changed
	t := time.NewTimer(rest)
	defer t.Stop()
	a.waiting++
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		a.waiting--
	}()
	select {
	case <-changed:
	case <-t.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// used notes that money of a lease was taken, and has it topped up before it ends.
func (l *lessor) used(a *account, now time.Time) {
	x := a.lease
	x.used = now
	if x.low > 0 && a.left() < x.low && !x.listed && !x.flying && now.After(x.dry) && now.After(x.shortUntil) {
		x.more = true
		l.enlist(a)
	}
}

// counted notes that a request was admitted on leases of rate, and has them topped up before they end.
func (l *lessor) counted(a *account, m moment) {
	x := a.lease
	x.used = m.at
	if x.listed || x.flying || !m.at.After(x.shortUntil) {
		return
	}
	low := x.lowRequests > 0 && x.requests-a.requests < x.lowRequests && m.at.After(x.dryRequests) ||
		x.lowTokens > 0 && x.tokens-a.tokens < x.lowTokens && m.at.After(x.dryTokens)
	if low {
		x.more = true
		l.enlist(a)
	}
}

// settled gives what came back to another node that is short of it.
func (l *lessor) settled(a *account) {
	if x := a.lease; x.over || !x.shortUntil.IsZero() && l.book.now().Before(x.shortUntil) {
		l.enlist(a)
	}
}

// beat says that this node lives, and has given back what others are short of and what is not used.
func (l *lessor) beat(ctx context.Context) {
	b := l.book
	b.mu.Lock()
	now := b.now()
	var names []string
	byName := map[string]*account{}
	for a := range l.active {
		if !a.surplus() {
			if a.open == 0 && a.running == 0 && now.Sub(a.lease.used) > idleAfter {
				delete(l.active, a) // it has given everything back
			}
			continue
		}
		names = append(names, a.name)
		byName[a.name] = a
		if now.Sub(a.lease.used) > idleAfter {
			l.enlist(a)
		}
	}
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, roundTime)
	defer cancel()
	sent := b.now()
	pulse, err := l.authority.Beat(ctx, names)
	got := b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.answered(err, sample{sent, got, pulse.Now}) {
		b.nodes.Store(pulse.Nodes)
		for _, name := range pulse.Short {
			if a := byName[name]; a != nil {
				a.lease.shortUntil = got.Add(shortFor)
				l.enlist(a)
			}
		}
	}
}

// surplus says that something of the account's leases is not in use.
func (a *account) surplus() bool {
	x := a.lease
	return x != nil && (x.granted > a.spent && a.left() > 0 || x.minute == a.minute && (x.requests > a.requests || x.tokens > a.tokens) || x.places > a.running)
}

// answered notes how a question ended.
func (l *lessor) answered(err error, s sample) bool {
	if err == nil {
		l.hear(s)
		l.failed, l.failure = time.Time{}, nil
		if l.reported {
			l.reported = false
			l.log.Info("leases of limits can be had again")
		}
		return true
	}
	l.failed, l.failure = s.got, err
	if errors.Is(err, ErrFenced) {
		l.fenced = true
	}
	if !l.reported && !errors.Is(err, context.Canceled) {
		l.reported = true
		l.log.Error("leases of limits cannot be had; going on with those at hand", "error", err)
	}
	return false
}

// renew asks for what is listed.
func (l *lessor) renew(ctx context.Context) {
	b := l.book
	b.mu.Lock()
	if len(l.list) == 0 {
		b.mu.Unlock()
		return
	}
	m := b.moment()
	asked := l.list
	l.list = nil
	claims := make([]Claim, len(asked))
	for i, a := range asked {
		claims[i] = a.claim(m)
	}
	l.flying, l.next = l.next, make(chan struct{})
	b.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, roundTime)
	defer cancel()
	sent := b.now()
	answer, err := l.authority.Renew(ctx, claims)
	got := b.now()

	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil && len(answer.Grants) != len(claims) {
		err = errors.New("quota: the authority answers another question")
	}
	ok := l.answered(err, sample{sent, got, answer.Now})
	for i, a := range asked {
		a.lease.flying = false
		if ok {
			a.take(&claims[i], &answer.Grants[i], got)
			l.active[a] = struct{}{}
		}
		a.wake()
	}
	close(l.flying)
	l.flying = nil
}
