package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

// runProxy is the yardstick: the standard library's reverse proxy with what one tunes about it, doing nothing else.
func runProxy(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("proxy", flag.ContinueOnError)
	profile := flags.String("profile", "", "what CPU profiles are called; empty: none")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("which address? One")
	}
	defer profileOnSignal(*profile)()
	target := &url.URL{Scheme: "http", Host: flags.Arg(0)}
	p := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &http.Transport{
			MaxIdleConns: 4096, MaxIdleConnsPerHost: 4096, IdleConnTimeout: time.Hour, DisableCompression: true,
			ReadBufferSize: 8 << 10, WriteBufferSize: 8 << 10,
		},
		FlushInterval: -1,
		BufferPool:    &pool{},
		ErrorLog:      log.New(io.Discard, "", 0),
	}
	return listenAndServe(ctx, &http.Server{Handler: p, IdleTimeout: time.Hour})
}

type pool struct{ p sync.Pool }

func (p *pool) Get() []byte {
	if b, ok := p.p.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 32<<10)
}

func (p *pool) Put(b []byte) { p.p.Put(&b) }
