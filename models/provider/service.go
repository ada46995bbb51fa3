package provider

import (
	"context"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/outbound"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/internal/seal"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/ref"
)

// Bounds of a provider.
const (
	MaxKeys   = 64
	maxSecret = 4096
	maxName   = 63
)

// Secret is an opened key.
type Secret struct{ ID, Text string }

// Upstream is what an engine for a provider is made of.
type Upstream struct {
	URL     *url.URL
	Dialect engine.Dialect
	Private bool
	Keys    []Secret
}

// Driver is an engine that reaches one provider.
type Driver interface {
	engine.Engine
	// Resting are the ids of keys that are not used now, each with when it will be again.
	Resting() map[string]time.Time
	// Close lets unused connections go.
	Close()
}

// Live is a provider with the engine that reaches it; the same one as long as nothing of the provider changes.
type Live struct {
	Provider
	Engine Driver
	mark   string
}

// Service keeps providers. All fields but Changed are needed; it is safe for concurrent use.
type Service struct {
	Store  Store
	Box    *seal.Box
	Driver func(Upstream) Driver
	IDs    *id.Maker
	Now    func() time.Time
	Log    *slog.Logger
	// Changed, when set, is told after a provider was added, changed or removed.
	Changed func(context.Context)

	mu   sync.Mutex
	live map[string]*Live
}

// Add makes a provider, with its first key when there is one.
func (s *Service) Add(ctx context.Context, who Who, spec Spec) (Provider, error) {
	if err := ref.Check("name", spec.Name); err != nil {
		return Provider{}, err
	}
	switch spec.Dialect {
	case "":
		spec.Dialect = engine.OpenAI
	case engine.OpenAI, engine.OpenAIResponses, engine.Responses, engine.Anthropic, engine.Google:
	default:
		return Provider{}, fault.New(fault.Invalid, "There is no dialect "+ref.Quote(string(spec.Dialect))+".", fault.Field("dialect"),
			fault.Fix("Use openai, responses, openai,responses for both of them, anthropic or google."))
	}
	switch {
	case spec.Name == Local || len(spec.Name) > maxName || strings.ContainsAny(spec.Name, "/:"):
		return Provider{}, fault.InvalidField("name", "A provider's name has at most %d bytes, none of them / or :, and is not %q, which stands for this installation.", maxName, Local)
	case spec.Private && !who.Private:
		return Provider{}, fault.New(fault.Forbidden, "Inner addresses cannot be allowed with this key.", fault.Code("not_allowed"),
			fault.Field("allow_private"), fault.Fix("Ask whoever operates this installation: it takes the scope platform."))
	}
	if _, err := outbound.CheckURL("url", spec.URL, spec.Private); err != nil {
		return Provider{}, err
	}
	p := Provider{ID: s.IDs.New("prv"), Org: who.Org, Project: who.Project, Name: spec.Name, URL: spec.URL, Dialect: spec.Dialect,
		Private: spec.Private, CreatedBy: who.Key, CreatedAt: s.now()}
	if spec.Key != "" {
		k, err := s.sealed(who, spec.Key)
		if err != nil {
			return Provider{}, err
		}
		p.Keys = []Key{k}
	}
	if err := s.Store.Add(ctx, p); err != nil {
		return Provider{}, err
	}
	s.changed(ctx)
	return p, nil
}

// sealed makes a Key of a secret, which a program took from a variable or a file: what is around it is left out.
func (s *Service) sealed(who Who, secret string) (Key, error) {
	secret = strings.TrimSpace(secret)
	bad := strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r > '~' })
	if secret == "" || len(secret) > maxSecret || bad {
		return Key{}, fault.InvalidField("key", "A provider's key is 1 to %d printable characters without spaces.", maxSecret)
	}
	k := Key{ID: s.IDs.New("pky"), CreatedBy: who.Key, CreatedAt: s.now()}
	if len(secret) >= 16 {
		k.Hint = secret[len(secret)-4:]
	}
	var err error
	k.Sealed, err = s.Box.Seal(k.ID, []byte(secret))
	return k, err
}

// Get returns a provider by id or name.
func (s *Service) Get(ctx context.Context, project, name string) (Provider, error) {
	p, err := s.find(ctx, project, name)
	if err != nil {
		return p, err
	}
	return s.withRests(p), nil
}

func (s *Service) find(ctx context.Context, project, name string) (Provider, error) {
	if id.Valid("prv", name) {
		return s.Store.Get(ctx, project, name)
	}
	return s.Store.ByName(ctx, project, name)
}

// withRests fills in which keys rest.
func (s *Service) withRests(p Provider) Provider {
	s.mu.Lock()
	l := s.live[p.ID]
	s.mu.Unlock()
	if l == nil {
		return p
	}
	rests := l.Engine.Resting()
	for i := range p.Keys {
		p.Keys[i].Rests = rests[p.Keys[i].ID]
	}
	return p
}

// List lists the project's providers by name.
func (s *Service) List(ctx context.Context, project string, p page.Page) ([]Provider, error) {
	list, err := s.Store.List(ctx, project, p)
	for i := range list {
		list[i] = s.withRests(list[i])
	}
	return list, err
}

// Remove deletes a provider, by id or name, to which no route leads.
func (s *Service) Remove(ctx context.Context, who Who, name string) error {
	p, err := s.find(ctx, who.Project, name)
	if err != nil {
		return err
	}
	if err := s.Store.Remove(ctx, who.Project, p.ID); err != nil {
		return err
	}
	s.changed(ctx)
	return nil
}

// AddKey gives a provider, by id or name, another key.
func (s *Service) AddKey(ctx context.Context, who Who, name, secret string) (Key, error) {
	p, err := s.find(ctx, who.Project, name)
	if err != nil {
		return Key{}, err
	}
	k, err := s.sealed(who, secret)
	if err != nil {
		return Key{}, err
	}
	if err := s.Store.AddKey(ctx, who.Project, p.ID, k, MaxKeys); err != nil {
		return Key{}, err
	}
	s.changed(ctx)
	return k, nil
}

// RemoveKey takes a key, by its id, from a provider.
func (s *Service) RemoveKey(ctx context.Context, who Who, name, key string) error {
	p, err := s.find(ctx, who.Project, name)
	if err != nil {
		return err
	}
	if err := s.Store.RemoveKey(ctx, who.Project, p.ID, key); err != nil {
		return err
	}
	s.changed(ctx)
	return nil
}

// Test asks a provider, by id or name, for its models with one of its keys.
func (s *Service) Test(ctx context.Context, project, name string) (Report, error) {
	p, err := s.find(ctx, project, name)
	if err != nil {
		return Report{}, err
	}
	d, err := s.open(p)
	if err != nil {
		return Report{}, err
	}
	defer d.Close()
	began := s.Now()
	r := Report{OK: true}
	if err := d.Health(ctx, engine.Endpoint{Replica: p.ID}); err != nil {
		r.OK, r.Reason = false, fault.As(err).Sentence()
	}
	r.Took = s.Now().Sub(began)
	return r, nil
}

// open makes the engine of a provider. A key that cannot be opened is left out, and said in the log: the others serve.
func (s *Service) open(p Provider) (Driver, error) {
	u, err := outbound.CheckURL("url", p.URL, p.Private)
	if err != nil {
		return nil, err
	}
	up := Upstream{URL: u, Dialect: p.Dialect, Private: p.Private}
	for _, k := range p.Keys {
		secret, err := s.Box.Open(k.ID, k.Sealed)
		if err != nil {
			s.Log.Error("a key of a provider cannot be opened", "provider", p.ID, "key", k.ID, "error", err)
			continue
		}
		up.Keys = append(up.Keys, Secret{k.ID, string(secret)})
	}
	if len(p.Keys) > 0 && len(up.Keys) == 0 {
		return nil, fault.New(fault.Unavailable, "No key of the provider "+p.Name+" can be opened with this installation's key.", fault.Code("sealed_elsewhere"),
			fault.Fix("Restore the key file they were sealed with, or add a key anew."))
	}
	return s.Driver(up), nil
}

// Live reads all providers and gives the engines of those that can be reached, by id.
func (s *Service) Live(ctx context.Context) (map[string]*Live, error) {
	all, err := s.Store.All(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := make(map[string]*Live, len(all))
	for _, p := range all {
		mark := markOf(p)
		if l := s.live[p.ID]; l != nil && l.mark == mark {
			now[p.ID] = l
			continue
		}
		d, err := s.open(p)
		if err != nil {
			s.Log.Error("a provider cannot be used", "provider", p.ID, "error", err)
			continue
		}
		now[p.ID] = &Live{Provider: p, Engine: d, mark: mark}
	}
	for id, l := range s.live {
		if now[id] != l {
			l.Engine.Close()
		}
	}
	s.live = now
	return now, nil
}

// markOf differs where an engine would.
func markOf(p Provider) string {
	parts := []string{p.Name, p.URL, string(p.Dialect)}
	if p.Private {
		parts = append(parts, "private")
	}
	keys := make([]string, len(p.Keys))
	for i, k := range p.Keys {
		keys[i] = k.ID
	}
	slices.Sort(keys)
	return strings.Join(append(parts, keys...), "\n")
}

func (s *Service) changed(ctx context.Context) {
	if s.Changed != nil {
		s.Changed(ctx)
	}
}

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }
