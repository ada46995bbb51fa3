// Command triarch is the whole of Triarch: command line, control plane, gateway, supervisors and workers.
package main

import (
	"os"

	"github.com/triarch-ai/triarch/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:])) }
