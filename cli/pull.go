package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/cli/ui"
	"github.com/triarch-ai/triarch/internal/fault"
)

// pullOptions are the flags of model pull.
type pullOptions struct {
	api.NewPull
	tokenEnv string
	detach   bool
	drop     bool
	from     string
}

const pullWords = `Pull has the server fetch a model from Hugging Face, from ModelScope (modelscope:ORG/NAME), or from a mirror of either, and waits
for it. It goes on when you leave: the same command looks again, and continues what broke off, whatever broke it. Every file is
checked against the checksum of the hub's list before the model is registered.

Of the repository come its safetensors and what belongs to them; of one with GGUF files the one that --file names. Tokens for models
that are not open are taken from HF_TOKEN or MODELSCOPE_API_TOKEN here and go to the hub's own address alone, or to the one that
HF_ENDPOINT names where you have set it. Mirrors are asked first, in the order you give, and get no token.`

func (a *app) pullCommand() *cobra.Command {
	var o pullOptions
	c := a.verb("pull ORG/NAME [MODEL]", "Pull a model from Hugging Face, ModelScope or a mirror of either, or from a bundle", cobra.MaximumNArgs(2), func(ctx context.Context, c *api.Client, args []string) error {
		switch {
		case o.from != "" && len(args) < 2:
			return a.takeBundle(ctx, c, o.from, strings.Join(args, ""))
		case o.from != "" || len(args) == 0:
			return fault.New(fault.Invalid, "It takes ORG/NAME and perhaps a name for the model here, or --from FILE and perhaps that name.", fault.Code("usage"))
		}
		if len(args) == 2 {
			o.Model = args[1]
		}
		return a.pullModel(ctx, c, args[0], o)
	})
	c.Long = pullWords
	f := c.Flags()
	f.StringVar(&o.Revision, "revision", "", "branch, tag or commit (default: the hub's main branch)")
	f.StringVar(&o.File, "file", "", "which of several GGUF files: its name or a word of it, such as Q4_K_M")
	f.StringArrayVar(&o.Include, "include", nil, "only files that match this pattern, such as '*.safetensors'; repeatable")
	f.StringArrayVar(&o.Exclude, "exclude", nil, "no file that matches this pattern; repeatable")
	f.StringArrayVar(&o.Mirrors, "mirror", nil, "address that speaks the hub's protocol, asked before the hub; repeatable, in order")
	f.BoolVar(&o.AllowPrivate, "allow-private", false, "mirrors and HF_ENDPOINT may have an address inside the network, and plain http; for operators")
	f.StringVar(&o.tokenEnv, "token-env", "", "environment variable with the token (default: HF_TOKEN, or MODELSCOPE_API_TOKEN)")
	f.StringVar(&o.from, "from", "", "a file that model bundle wrote, instead of a hub")
	f.BoolVarP(&o.detach, "detach", "d", false, "return at once; the same command looks how far it is")
	f.BoolVar(&o.drop, "drop", false, "end the pull of this model instead, and throw away what came")
	return c
}

// pullModel asks for a pull and follows it.
func (a *app) pullModel(ctx context.Context, c *api.Client, name string, o pullOptions) error {
	n := o.NewPull
	if err := pullFrom(&n, name, o.tokenEnv); err != nil {
		return err
	}
	if o.drop {
		return a.dropPull(ctx, c, n)
	}
	p, err := c.BeginPull(ctx, n)
	if err != nil {
		return err
	}
	if o.detach {
		return a.Value(p, func() {
			a.Printf("%s is pulled as %s\n", p.Repo, p.ID)
			a.Next("%s", a.command("model pulls"))
		})
	}
	if p, err = a.followPull(ctx, c, p); err != nil {
		return err
	}
	if p.State == "failed" {
		return fault.New(fault.Kind(first(p.Kind, string(fault.Unavailable))), strings.TrimRight(p.Reason, ".")+".", fault.Code(p.Code), fault.Fix("%s", p.Fix))
	}
	v, err := c.ModelVersion(ctx, p.Version)
	if err != nil {
		return err
	}
	return a.Value(v, func() {
		a.showModel(v)
		a.nextOf(v)
	})
}

// nextOf names what to do with a model that came: serve it where it can be served.
func (a *app) nextOf(v api.ModelVersion) {
	if v.Shape.Foreign != "" {
		a.Next("%s", a.command("model ls --fit"))
		return
	}
	a.Next("%s", a.command("deploy %s", shellQuote(v.Model)))
}

// pullFrom fills in the hub, the token and the endpoint, from the name and the environment.
func pullFrom(n *api.NewPull, name, tokenEnv string) error {
	n.Source, n.Repo = "huggingface", name
	if hub, repo, ok := strings.Cut(name, ":"); ok {
		switch hub {
		case "hf", "huggingface":
			n.Repo = repo
		case "ms", "modelscope":
			n.Source, n.Repo = "modelscope", repo
		default:
			return fault.New(fault.Invalid, "There is no hub "+shellQuote(hub)+".", fault.Field("ORG/NAME"), fault.Fix("Write ORG/NAME for Hugging Face or modelscope:ORG/NAME"))
		}
	}
	usual := "HF_TOKEN"
	if n.Source == "modelscope" {
		usual = "MODELSCOPE_API_TOKEN"
		if d := os.Getenv("MODELSCOPE_DOMAIN"); d != "" {
			n.Endpoint = "https://" + d
		}
	} else {
		n.Endpoint = strings.TrimRight(os.Getenv("HF_ENDPOINT"), "/")
	}
	n.Token = strings.TrimSpace(os.Getenv(first(tokenEnv, usual)))
	if tokenEnv != "" && n.Token == "" {
		return fault.InvalidField("token-env", "--token-env %s: there is no %s in the environment here", tokenEnv, tokenEnv)
	}
	return nil
}

// followPull shows the progress until the pull has ended. Leaving does not end it.
func (a *app) followPull(ctx context.Context, c *api.Client, p api.Pull) (api.Pull, error) {
	bar := a.Bar("pulling")
	note := ""
	p, err := follow(ctx, a, c, "model pulls", func(c *api.Client) (api.Pull, bool, error) {
		now, err := c.Pull(ctx, p.ID)
		if err != nil {
			return p, false, err
		}
		if now.Note != note && now.Note != "" && now.State == "running" && !a.JSON {
			fmt.Fprintf(a.Err, "\n%s\n", ui.Visible(now.Note))
		}
		note = now.Note
		bar.Set(now.BytesDone, now.Bytes, pullNote(now))
		return now, now.State != "running", nil
	})
	if err == nil && p.State == "done" && !a.JSON {
		bar.Done(ui.Bytes(p.Bytes))
	}
	return p, err
}

func pullNote(p api.Pull) string {
	switch {
	case p.Phase == "register":
		return "registering"
	case p.Bytes == 0:
		return "asking for the list"
	case p.Rate == 0:
		return fmt.Sprintf("%s of %s", ui.Bytes(p.BytesDone), ui.Bytes(p.Bytes))
	}
	return fmt.Sprintf("%s of %s, %s/s, %s left", ui.Bytes(p.BytesDone), ui.Bytes(p.Bytes), ui.Bytes(int64(p.Rate)), time.Duration(p.Left)*time.Second)
}

// dropPull removes the pulls of a model that are not done.
func (a *app) dropPull(ctx context.Context, c *api.Client, n api.NewPull) error {
	list, err := c.Pulls(ctx)
	if err != nil {
		return err
	}
	var gone []string
	for _, p := range list {
		if p.Repo == n.Repo && p.Source == n.Source && p.State != "done" && (n.Model == "" || n.Model == p.Model) {
			if err := c.RemovePull(ctx, p.ID); err != nil {
				return err
			}
			gone = append(gone, p.ID)
		}
	}
	if len(gone) == 0 {
		return fault.Newf(fault.NotFound, "There is no pull of %s that is not done.", n.Repo)
	}
	return a.Value(map[string][]string{"removed": gone}, func() { a.Printf("%s is removed\n", strings.Join(gone, ", ")) })
}

func (a *app) pullsCommand() *cobra.Command {
	return a.verb("pulls", "List pulls and how far they are", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		list, err := c.Pulls(ctx)
		if err != nil {
			return err
		}
		return a.Value(list, func() {
			a.Table([]string{"model", "from", "state", "progress", "age", "note"}, rows(list, func(p api.Pull) []string {
				return []string{p.Model, p.Source + ":" + p.Repo, p.State, pullNote(p), a.ago(p.CreatedAt), first(p.Reason, p.Note)}
			}))
		})
	})
}
