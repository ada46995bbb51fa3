package serve

import (
	"testing"

	"github.com/triarch-ai/triarch/internal/fault"
)

func TestLocalityOfAPolicy(t *testing.T) {
	for name, ok := range map[string]bool{"": true, Prefix: true, Off: true, "round-robin": false} {
		p := PolicyChange{Locality: &name}.over(Policy{Concurrency: 3})
		if p.Concurrency != 3 || p.Locality != name {
			t.Errorf("%q: %+v", name, p)
		}
		if err := p.check(); (err == nil) != ok || err != nil && fault.As(err).Field != "route.policy.locality" {
			t.Errorf("%q: %v", name, err)
		}
	}
	if p := (PolicyChange{}).over(Policy{Locality: Off}); p.Locality != Off {
		t.Error("what is not named changed")
	}
}
