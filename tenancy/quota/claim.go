package quota

import "time"

// most bounds amounts on their way to an authority, so that their sums stay far from overflow.
const most = 1 << 60

// claim says what the account uses of its leases and asks for what is wanted of them. What it does not say it keeps is
// given up here and now, before anybody else can be given it.
func (a *account) claim(m moment) Claim {
	x := a.lease
	c := Claim{Account: a.name}
	back := x.over || m.at.Before(x.shortUntil) || m.at.Sub(x.used) > idleAfter
	if a.bound.Budgeted || x.granted > 0 {
		a.claimMoney(&c, m.at, back)
	}
	if m.sure {
		a.roll(m.minute)
	}
	if a.bound.RPM > 0 || a.bound.TPM > 0 || x.minute == a.minute {
		a.claimRates(&c, back)
	}
	c.Running, c.NeedPlaces = a.running, x.needPlaces
	if a.bound.Concurrency > 0 || x.places > 0 {
		if c.KeepPlaces = max(0, x.places-a.running); back {
			c.KeepPlaces = 0
		}
		if x.places = a.running + c.KeepPlaces; c.NeedPlaces > 0 {
			c.WantPlaces = plenty
		}
	}
	x.needMoney, x.wantMoney, x.needRequests, x.needTokens, x.needPlaces = 0, 0, 0, 0, 0
	x.more, x.listed, x.flying = false, false, true
	return c
}

func (a *account) claimMoney(c *Claim, now time.Time, back bool) {
	x := a.lease
	c.Money = true
	c.Settled, c.Held = min(a.spent, most), min(a.held.value(), most)
	c.Keep = min(max(0, x.granted-c.Settled-c.Held), most)
	if back && x.needMoney == 0 || x.needMoney > c.Keep && now.Before(x.shortUntil) {
		c.Keep = 0 // another node may need it to have enough
	}
	x.granted = min(x.granted, c.Settled+c.Held+c.Keep)
	need := min(x.needMoney, most)
	c.Need = max(0, need-c.Keep)
	if c.Need == 0 && !x.more || back && need == 0 {
		return
	}
	switch {
	case now.Sub(x.grew) < quick:
		x.stride = min(2*x.stride, maxStride)
	case now.Sub(x.grew) > idleAfter || x.stride == 0:
		x.stride = firstStride
	}
	x.grew = now
	each := max(need, x.low/firstStride, 1)
	c.Want = max(c.Need, min(x.wantMoney, most), min(each, most/x.stride)*x.stride)
}

func (a *account) claimRates(c *Claim, back bool) {
	x := a.lease
	c.Minute, c.Requests, c.Tokens = a.minute, a.requests, a.tokens
	if x.minute == a.minute {
		if c.KeepRequests, c.KeepTokens = max(0, x.requests-a.requests), max(0, x.tokens-a.tokens); back {
			c.KeepRequests, c.KeepTokens = 0, 0
		}
		x.requests, x.tokens = a.requests+c.KeepRequests, a.tokens+c.KeepTokens
	}
	c.NeedRequests, c.NeedTokens = x.needRequests, x.needTokens
	if a.bound.RPM > 0 && (c.NeedRequests > 0 || x.more) {
		c.WantRequests = plenty
	}
	if a.bound.TPM > 0 && (c.NeedTokens > 0 || x.more) {
		c.WantTokens = plenty
	}
}

// take takes what was granted, and notes what could not be.
func (a *account) take(c *Claim, g *Grant, now time.Time) {
	x := a.lease
	if c.Money {
		x.granted, x.room, x.others, x.over = g.Granted, g.Room, g.Others, g.Over
		if fresh := g.Granted - (c.Settled + c.Held + c.Keep); fresh > 0 {
			x.low = fresh / 2
		}
		if left := g.Granted - (c.Settled + c.Held); c.Need > 0 && left < c.Keep+c.Need || c.Want > 0 && g.Room <= 0 {
			x.dry, x.dryNeed = now.Add(dryFor), max(left, 0)+max(g.Room, 0)+1
			if g.Others > 0 && c.Need > 0 && left < c.Keep+c.Need { // what is free here may be what another waits for
				x.shortUntil = now.Add(shortFor)
			}
		}
	}
	x.minute, x.requests, x.tokens = g.Minute, g.Requests, g.Tokens
	x.othersRequests, x.othersTokens = g.OthersRequests, g.OthersTokens
	used := Claim{}
	if c.Minute == g.Minute {
		used = *c
	}
	if fresh := g.Requests - used.Requests - used.KeepRequests; fresh > 0 {
		x.lowRequests = fresh / 2
	} else if c.WantRequests > 0 {
		x.dryRequests = now.Add(dryFor)
	}
	if fresh := g.Tokens - used.Tokens - used.KeepTokens; fresh > 0 && fresh >= c.NeedTokens {
		x.lowTokens = fresh / 2
	} else if c.WantTokens > 0 {
		x.dryTokens = now.Add(dryFor)
	}
	x.places, x.othersPlaces = g.Places, g.OthersPlaces
	if c.NeedPlaces > 0 && g.Places <= c.Running+c.KeepPlaces {
		x.dryPlaces = now.Add(dryFor)
	}
}
