package pacedengine

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/models/engine"
)

// Main runs the engine as a process until ctx ends. With -attempt it takes its secret from that folder and announces
// itself there, as a replica does; otherwise it prints its address as one line on out.
func Main(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("pacedengine", flag.ContinueOnError)
	e := &Engine{}
	listen := flags.String("listen", "127.0.0.1:0", "address to listen on")
	attempt := flags.String("attempt", "", "attempt folder of a replica")
	flags.IntVar(&e.Tokens, "tokens", 16, "tokens of an answer")
	flags.DurationVar(&e.First, "first", 0, "wait before the first token")
	flags.DurationVar(&e.Pace, "pace", 0, "wait between tokens")
	flags.StringVar(&e.Secret, "secret", "", "bearer secret to demand (a test's, so it may stand here)")
	flags.IntVar(&e.Break, "break", 0, "cut streams after this many tokens")
	flags.IntVar(&e.Size, "size", 0, "bytes of an answer that is no stream")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *attempt != "" {
		b, err := os.ReadFile(filepath.Join(*attempt, engine.SecretFile))
		if err != nil {
			return err
		}
		e.Secret = strings.TrimSpace(string(b))
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	web := &http.Server{Handler: e, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	defer web.Close()
	stop := context.AfterFunc(ctx, func() { web.Close() })
	defer stop()
	if *attempt != "" {
		err = engine.Announce(*attempt, l.Addr().String())
	} else {
		_, err = fmt.Fprintln(out, l.Addr().String())
	}
	if err != nil {
		return err
	}
	if err = web.Serve(l); errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
