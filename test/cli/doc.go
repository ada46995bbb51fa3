// Package cli holds the scripts that drive the program itself, built from cmd/triarch, as people and programs do: in a
// pipe, on a terminal, with wrong input, and by the very commands it prints.
package cli
