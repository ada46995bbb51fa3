package cli

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/fault"
)

func (a *app) providerCommand() *cobra.Command {
	ls := a.verb("ls", "List providers", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		list, err := c.Providers(ctx)
		if err != nil {
			return err
		}
		return a.Value(list, func() {
			a.Table([]string{"name", "id", "url", "dialect", "keys", "age"}, rows(list, func(p api.Provider) []string {
				return []string{p.Name, p.ID, p.URL, p.Dialect, keyCount(p), a.ago(p.CreatedAt)}
			}))
		})
	})
	rm := a.verb("rm NAME", "Remove a provider with its keys", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		if err := c.RemoveProvider(ctx, args[0]); err != nil {
			return err
		}
		return a.Value(map[string]string{"removed": args[0]}, func() { a.Printf("%s is removed\n", args[0]) })
	})
	test := a.verb("test NAME", "Ask a provider for its models", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		r, err := c.TestProvider(ctx, args[0])
		if err != nil {
			return err
		}
		if !r.OK {
			return fault.New(fault.Unavailable, r.Reason, fault.Code("provider_failed"))
		}
		return a.Value(r, func() { a.Printf("%s answers, after %.2f s\n", args[0], r.Took) })
	})
	return noun("provider", "Providers: model APIs of others that routes can lead to", ls, a.providerAdd(), test, a.providerKeys(), rm)
}

func (a *app) providerAdd() *cobra.Command {
	var n api.NewProvider
	var env string
	add := a.verb("add NAME", "Add a provider", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		n.Name = args[0]
		var err error
		if env != "" {
			if n.Key, err = secretFrom(env); err != nil {
				return err
			}
		}
		p, err := c.AddProvider(ctx, n)
		if err != nil {
			return err
		}
		return a.Value(p, func() {
			a.Printf("%s is %s, in the dialect %s, with %s\n", p.Name, p.URL, p.Dialect, keyCount(p))
			a.Next("%s", a.command("route add NAME --to %s/MODEL", p.Name))
		})
	})
	f := add.Flags()
	f.StringVar(&n.URL, "url", "", "its address, https://..., with the path that its clients are given, such as /v1")
	f.StringVar(&env, "key-env", "", "variable of the environment with its key")
	f.StringVar(&n.Dialect, "dialect", "", "openai, responses, openai,responses, anthropic or google (default openai)")
	f.BoolVar(&n.AllowPrivate, "allow-private", false, "it may have an address inside the network, and plain http; for operators")
	return add
}

func (a *app) providerKeys() *cobra.Command {
	var env string
	add := a.verb("add NAME", "Give a provider another key", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		if env == "" {
			return fault.New(fault.Invalid, "No variable with the key is named.", fault.Field("--key-env"), fault.Fix("Name it with --key-env."))
		}
		secret, err := secretFrom(env)
		if err != nil {
			return err
		}
		k, err := c.AddProviderKey(ctx, args[0], secret)
		if err != nil {
			return err
		}
		return a.Value(k, func() { a.Printf("%s has the key %s\n", args[0], k.ID) })
	})
	add.Flags().StringVar(&env, "key-env", "", "variable of the environment with the key")
	ls := a.verb("ls NAME", "List a provider's keys", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		p, err := c.Provider(ctx, args[0])
		if err != nil {
			return err
		}
		return a.Value(p.Keys, func() {
			a.Table([]string{"id", "ends with", "rests", "age"}, rows(p.Keys, func(k api.ProviderKey) []string {
				rests := ""
				if k.Rests != nil {
					rests = "until " + k.Rests.Format("15:04:05")
				}
				return []string{k.ID, k.Hint, rests, a.ago(k.CreatedAt)}
			}))
		})
	})
	rm := a.verb("rm NAME KEY", "Take a key, by its id, from a provider", cobra.ExactArgs(2), func(ctx context.Context, c *api.Client, args []string) error {
		if err := c.RemoveProviderKey(ctx, args[0], args[1]); err != nil {
			return err
		}
		return a.Value(map[string]string{"removed": args[1]}, func() { a.Printf("%s is removed\n", args[1]) })
	})
	return noun("key", "Keys of a provider", ls, add, rm)
}

// secretFrom reads a secret from a variable, so that it stands in no command line and no history.
func secretFrom(env string) (string, error) {
	secret := strings.TrimSpace(os.Getenv(env))
	if secret == "" {
		return "", fault.New(fault.Invalid, "The variable "+env+" is not set, or empty.", fault.Field("--key-env"), fault.Fix("Set it to the provider's key."))
	}
	return secret, nil
}

func keyCount(p api.Provider) string {
	if len(p.Keys) == 1 {
		return "1 key"
	}
	return fmt.Sprintf("%d keys", len(p.Keys))
}
