# Triarch: `make help` lists what can be made.
GO      ?= go
BIN     ?= bin/triarch
DATA    ?= $(HOME)/.triarch
LISTEN  ?= 127.0.0.1:8420
LINTER  ?= github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
export CGO_ENABLED = 0
SHELL       := /bin/bash
.SHELLFLAGS := -o pipefail -c

.PHONY: help build up test samples parity lint bench generate clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build the static binary bin/triarch
	$(GO) build -trimpath -buildvcs=false -ldflags "-s -w -X github.com/triarch-ai/triarch/system.Version=$(VERSION)" -o $(BIN) ./cmd/triarch

up: build ## run Triarch: DATA=folder LISTEN=host:port; on an empty folder it first makes the starter model
	$(BIN) up --data "$(DATA)" --listen "$(LISTEN)"

test: ## run every test; a skipped one fails unless TRIARCH_ALLOW_SKIP=1 (.ci/run installs what they need)
	$(GO) vet ./...
	@# The second half drives built programs, which the cache of test results knows nothing of.
	{ r=0; $(GO) test -timeout 20m -v $$($(GO) list ./... | grep -v /triarch/test/) || r=1; \
	  $(GO) test -timeout 20m -v -count=1 ./test/... || r=1; exit $$r; } | awk -f test/summary.awk

samples: ## 10,000 constrained documents of a model with random weights over 50 schemas, judged by an independent validator
	FORM_SAMPLES=10000 go test ./models/native/decode -run TestEveryDocumentIsWhole -v

parity: ## install PyTorch, transformers, tokenizers and llama.cpp into .venv and write the goldens that `make test` reads
	test/parity/run

lint: ## run golangci-lint at the pinned version
	$(GO) run $(LINTER) run ./...

bench: ## measure speed as ratios against peers in the same run (see docs/bench.md)
	test/bench/run

generate: ## make the assembly kernels and the OpenAPI document anew
	$(GO) generate ./...

clean: ## remove what was built
	rm -rf bin
