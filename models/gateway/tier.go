package gateway

import (
	"context"
	"slices"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/auth"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// tiering is the service tier that a request of a route with tiers is served in.
type tiering struct {
	tier   dialect.Tier // NoTier: the route has none, or the request names none
	means  api.Tier     // what that is here; of the default the zero value
	prices meter.Prices // of it
}

// tiered says which tier serves a request that names one. Without tiers on its route the request only has to name one that
// there is, and whatever it says is its backend's to read.
func (f *flight) tiered() error {
	asked, err := dialect.ParseTier(f.caller(), f.fields.tier)
	p := &f.target.Route.Policy
	if err != nil || asked == dialect.NoTier || !p.Tiered() || !f.conversing() {
		return err
	}
	who := f.call.Who
	if asked == dialect.AutoTier {
		asked = dialect.DefaultTier
		if f.caller() == dialect.Anthropic && p.Priority.Percent > 0 && has(who, tenancy.Priority) {
			asked = dialect.PriorityTier
		}
	}
	var scope tenancy.Scope
	f.tiering.tier, f.tiering.prices = asked, f.target.Route.Prices
	switch asked {
	case dialect.FlexTier:
		f.tiering.means, scope = p.Flex, tenancy.FlexTier
	case dialect.PriorityTier:
		f.tiering.means, scope = p.Priority, tenancy.Priority
	default:
		return nil
	}
	switch m := &f.tiering.means; {
	case m.Percent == 0:
		return fault.New(fault.Invalid, "The model `"+f.fields.model+"` is not served in the service tier "+asked.String()+".", fault.Field("service_tier"),
			fault.Code("unsupported_service_tier"), fault.Fix("Leave service_tier out, or ask for default."))
	case m.Flagged && !has(who, scope):
		return fault.New(fault.Forbidden, "This key may not ask for the service tier "+asked.String()+".", fault.Field("service_tier"), fault.Code("service_tier"),
			fault.Fix("Leave service_tier out, or use a key with the scope %s.", scope))
	}
	f.tiering.prices = f.target.Route.Prices.Percent(f.tiering.means.Percent)
	return nil
}

// has says whether a key has a scope by name.
func has(who *auth.Principal, scope tenancy.Scope) bool { return slices.Contains(who.Scopes, scope) }

// prices are what the request costs.
func (f *flight) prices() *meter.Prices {
	if f.tiering.tier != dialect.NoTier {
		return &f.tiering.prices
	}
	return &f.target.Route.Prices
}

// flow is the flow of requests that this one waits in: those of its project in its tier, and what one of them counts for
// there.
func (f *flight) flow() (flow, uint64) {
	w := f.tiering.means.Weight
	if w == 0 {
		return flow{f.call.Who.Project, f.tiering.tier}, lanePart
	}
	return flow{f.call.Who.Project, f.tiering.tier}, lanePart * 100 / uint64(w)
}

// tells says that the answer is to say which tier served it.
func (f *flight) tells() bool { return f.tiering.tier != dialect.NoTier }

// inTier has an answer in one piece say its tier.
func (f *flight) inTier(body []byte) []byte {
	if !f.tells() {
		return body
	}
	return dialect.TellTier(f.caller(), body, f.tiering.tier)
}

// tierSink has a stream say its tier.
type tierSink struct {
	Sink
	kind dialect.Kind
	tier dialect.Tier
}

func (s *tierSink) Write(b []byte) (int, error) {
	if _, err := s.Sink.Write(dialect.TellTierEvents(s.kind, b, s.tier)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// telling is forward or relay, through what has the stream say its tier where it is to.
func (f *flight) telling(ctx context.Context, to Sink, s engine.Stream, by func(context.Context, Sink, engine.Stream)) {
	if f.tells() {
		to = &tierSink{to, f.caller(), f.tiering.tier}
	}
	by(ctx, to, s)
}

// honoured leaves out of the fields that a backend could not be told what the gateway itself has done.
func (f *flight) honoured(dropped []string) []string {
	if !f.tells() {
		return dropped
	}
	return slices.DeleteFunc(slices.Clone(dropped), func(name string) bool { return name == "service_tier" })
}
