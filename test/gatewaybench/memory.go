package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Targets of the resident memory of the gateway alone.
const (
	idleTarget = 60 << 20
	heldTarget = 400 << 20
)

// memory is what a gateway process of its own holds resident.
type memory struct {
	What     string  `json:"what"`
	Idle     float64 `json:"idle_mib"`
	Held     float64 `json:"held_mib"`
	HeldKiB  float64 `json:"kib_of_a_stream"`
	Streams  int     `json:"streams"`
	IdleMet  bool    `json:"idle_met"`
	HeldMet  bool    `json:"held_met"`
	Returned float64 `json:"after_mib"` // once the streams are gone and their records shipped
}

const mib = 1 << 20

// memory starts a fresh gateway, lets it serve a little, and then has it hold streams that send nothing.
func (b *bench) memory(ctx context.Context, streams int) (m memory, err error) {
	streams = min(streams, (fileLimit()-512)/2)
	m = memory{What: "memory", Streams: streams}
	g, err := start(ctx, 2, append([]string{"gateway"}, b.engine.lines...)...)
	if err != nil {
		return m, err
	}
	defer g.stop()
	read := func(to *float64) (err error) {
		time.Sleep(2 * time.Second)
		n, err := resident(g.cmd.Process.Pid)
		*to = float64(n) / mib
		return err
	}
	if err := read(&m.Idle); err != nil {
		return m, err
	}
	hold, err := start(ctx, 1, "load", "-idle", "-addr", g.lines[1], "-key", g.lines[0], "-c", strconv.Itoa(streams))
	if err != nil {
		return m, err
	}
	err = read(&m.Held)
	hold.stop()
	if err != nil {
		return m, err
	}
	m.HeldKiB = (m.Held - m.Idle) * 1024 / float64(streams)
	m.IdleMet, m.HeldMet = m.Idle <= idleTarget/mib, m.Held <= heldTarget/mib
	return m, read(&m.Returned)
}

func (m memory) report(asJSON bool) error {
	if asJSON {
		line, err := json.Marshal(m)
		if err == nil {
			fmt.Println(string(line))
		}
		return err
	}
	fmt.Printf("resident memory of the gateway alone: idle %.0f MiB (target %d: %t), with %d silent streams %.0f MiB (target %d: %t; %.1f KiB a stream), when they are gone %.0f MiB\n",
		m.Idle, idleTarget/mib, m.IdleMet, m.Streams, m.Held, heldTarget/mib, m.HeldMet, m.HeldKiB, m.Returned)
	return nil
}
