package quota

import "github.com/triarch-ai/triarch/tenancy"

// Standing is an account as an authority has it, while nobody else changes it.
type Standing struct {
	tenancy.Bound
	Spent   int64 // by all
	Shipped int64 // of what Claim.Settled says: what is in Spent already
	Others  int64 // money that the other nodes have leases of

	OthersRequests, OthersTokens int64 // leased to the other nodes in the present minute
	OthersPlaces                 int64 // leased to the other nodes that live
}

// Decide is what a node gets: what it says that it uses and keeps, and of what it asks for enough, but no more than lets
// the others have theirs. nodes is how many live, minute the present one since 1970. lacks says that it needs more than
// there is: others should give back what they do not need.
func (c *Claim) Decide(x *Standing, nodes, minute int64) (g Grant, lacks bool) {
	base := c.Settled + c.Held + c.Keep
	g.Granted, g.Others = base, x.Others
	if c.Money && x.Budgeted {
		room := x.Budget - x.Spent - x.Others - max(0, base-x.Shipped)
		more, no := share(room, c.Need, c.Want, nodes)
		if no && x.Others == 0 && room > 0 { // the rest: it may pay for a shorter answer
			more = room
		}
		lacks = no
		g.Granted, g.Room, g.Over = base+more, max(0, room-more), room < 0
	}
	g.Minute, g.OthersRequests, g.OthersTokens = minute, x.OthersRequests, x.OthersTokens
	if c.Minute == minute {
		g.Requests, g.Tokens = c.Requests+c.KeepRequests, c.Tokens+c.KeepTokens
	}
	g.Places, g.OthersPlaces = c.Running+c.KeepPlaces, x.OthersPlaces
	for _, k := range []struct {
		limit, others, need, want int64
		have                      *int64
	}{
		{x.RPM, x.OthersRequests, c.NeedRequests, c.WantRequests, &g.Requests},
		{x.TPM, x.OthersTokens, c.NeedTokens, c.WantTokens, &g.Tokens},
		{x.Concurrency, x.OthersPlaces, c.NeedPlaces, c.WantPlaces, &g.Places},
	} {
		if k.limit > 0 {
			more, no := share(k.limit-k.others-*k.have, k.need, k.want, nodes)
			*k.have += more
			lacks = lacks || no
		}
	}
	return g, lacks
}

// share is how much of a room one of so many nodes gets: enough, and beyond that at most half of what would be its part,
// so that leases shrink as the room does. lacks says that it is less than needed, which is then nothing.
func share(room, need, want, nodes int64) (n int64, lacks bool) {
	switch {
	case need <= 0 && want <= 0:
		return 0, false
	case room < max(need, 1):
		return 0, need > 0
	}
	fair := room
	if nodes > 1 {
		fair = max(1, room/(2*nodes))
	}
	return min(room, max(need, min(want, fair))), false
}
