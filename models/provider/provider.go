// Package provider keeps what is known of outside providers: their addresses, dialects and the keys that they gave.
//
// Rules for callers: a provider belongs to a project, and only its routes lead there. Keys are sealed with the
// installation's key before they are stored, are never returned, and are opened only into the engine that uses them.
// Inner addresses ask for Who.Private, which only whoever operates the installation has: else a tenant could have the
// gateway ask what stands behind the firewall.
package provider

import (
	"context"
	"time"

	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/engine"
)

// Local is the word for this installation's deployments where a provider's name could stand.
const Local = "local"

// Provider is the model API of somebody else.
type Provider struct {
	ID        string // prv_...
	Org       string
	Project   string
	Name      string // unique in the project
	URL       string
	Dialect   engine.Dialect // what it states to speak, engine.OpenAIResponses among others
	Private   bool           // inner addresses are allowed
	CreatedBy string
	CreatedAt time.Time
	Keys      []Key // in the order they were added
}

// Key is one of a provider's keys.
type Key struct {
	ID        string // pky_...
	Hint      string // its last characters, for people
	Sealed    string // by seal.Box, for the purpose of its ID
	CreatedBy string
	CreatedAt time.Time

	Rests time.Time // it was refused and is not used before this; zero: it is in use. Not stored.
}

// Who asks.
type Who struct {
	Org     string
	Project string
	Key     string
	Private bool // may allow inner addresses
}

// Spec is a request for a provider.
type Spec struct {
	Name    string
	URL     string
	Dialect engine.Dialect // default OpenAI
	Private bool
	Key     string // secret; may be empty, for one that asks for none
}

// Report is what a test of a provider found.
type Report struct {
	OK     bool
	Took   time.Duration
	Reason string // a sentence where it is not OK
}

// Store keeps providers. Those that are returned come with their keys.
type Store interface {
	// Add inserts a provider with its keys; fault.Conflict when its name is taken.
	Add(ctx context.Context, p Provider) error
	Get(ctx context.Context, project, id string) (Provider, error)
	ByName(ctx context.Context, project, name string) (Provider, error)
	List(ctx context.Context, project string, p page.Page) ([]Provider, error)
	// All lists the providers of every project.
	All(ctx context.Context) ([]Provider, error)
	// Remove deletes a provider with its keys; fault.Conflict while a route leads to it.
	Remove(ctx context.Context, project, id string) error
	// AddKey inserts a key; fault.Conflict when there are most of them already.
	AddKey(ctx context.Context, project, id string, k Key, most int) error
	RemoveKey(ctx context.Context, project, id, key string) error
}
