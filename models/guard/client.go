package guard

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/outbound"
	"github.com/triarch-ai/triarch/internal/seal"
)

// Client asks judges outside. It is safe for concurrent use; the zero value opens no keys.
type Client struct {
	Box *seal.Box // opens keys; nil: judges with a key cannot be asked

	mu    sync.Mutex
	ways  [2]*http.Transport
	keys  map[string]string // opened, by what is sealed
	asked chan struct{}
}

// maxAsked is how many judgements of outside judges run at once; others wait for their turn within their time.
const maxAsked = 256

// maxKeys is how many opened keys are kept.
const maxKeys = 1024

// Judge asks the judge of a route's policy, within the policy's time. An error is no verdict: a fault of kind Unavailable
// whose sentence names no secret, or the error of ctx.
func (c *Client) Judge(ctx context.Context, route string, p *Policy, a *Ask) (Verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, p.Wait())
	defer cancel()
	turn := c.turns()
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return Verdict{}, unavailable(ctx.Err())
	}
	v, err := c.judge(ctx, route, p, a)
	if err != nil {
		return Verdict{}, unavailable(err)
	}
	return v, nil
}

func unavailable(err error) error {
	what := "it does not answer as agreed"
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		what = "it took too long"
	case errors.Is(err, errLong), errors.Is(err, errUnread):
		what = "its answer is no verdict"
	case fault.As(err).Code != "":
		what = fault.As(err).Code
	}
	return fault.New(fault.Unavailable, "The guard does not judge: "+what+".", fault.Code("guard_unavailable"), fault.Cause(err))
}

func (c *Client) judge(ctx context.Context, route string, p *Policy, a *Ask) (Verdict, error) {
	body, err := write(p.Form, a)
	if err != nil {
		return Verdict{}, err
	}
	u, err := outbound.CheckURL("url", p.URL, p.Private)
	if err != nil {
		return Verdict{}, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return Verdict{}, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "triarch")
	if p.Sealed != "" {
		key, err := c.key(route, p.Sealed)
		if err != nil {
			return Verdict{}, err
		}
		r.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := c.way(p.Private).RoundTrip(r) // and so no redirects
	if err != nil {
		return Verdict{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return Verdict{}, fault.New(fault.Unavailable, "The guard answered "+strconv.Itoa(resp.StatusCode)+".", fault.Code("status "+strconv.Itoa(resp.StatusCode)))
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxVerdict+1))
	if err != nil {
		return Verdict{}, err
	}
	return Parse(b)
}

func (c *Client) turns() chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked == nil {
		c.asked = make(chan struct{}, maxAsked)
	}
	return c.asked
}

// way is the transport for public or for all addresses.
func (c *Client) way(private bool) *http.Transport {
	i := 0
	if private {
		i = 1
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ways[i] == nil {
		c.ways[i] = outbound.New(outbound.Options{Private: private, Dial: defaultWait})
	}
	return c.ways[i]
}

// key opens a sealed key, once.
func (c *Client) key(route, sealed string) (string, error) {
	name := route + " " + sealed
	c.mu.Lock()
	defer c.mu.Unlock()
	if k, ok := c.keys[name]; ok {
		return k, nil
	}
	if c.Box == nil {
		return "", fault.New(fault.Unavailable, "The guard's key cannot be opened here.", fault.Code("sealed_elsewhere"))
	}
	k, err := c.Box.Open(Purpose(route), sealed)
	if err != nil {
		return "", err
	}
	if c.keys == nil || len(c.keys) >= maxKeys {
		c.keys = map[string]string{}
	}
	c.keys[name] = string(k)
	return string(k), nil
}

// Close lets unused connections go.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.ways {
		if t != nil {
			t.CloseIdleConnections()
		}
	}
}
