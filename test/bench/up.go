//go:build unix

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const starts = 5 // of `up`, each way

// measureUp times `up`: on an empty directory until the starter answers, on an existing one until its first token, once
// finding its replica alive and once starting it anew; and reads the memory of what then runs idle. These are wall
// clock times and depend on what else the machine does.
func measureUp(ctx context.Context, s settings, dir string) (out []figure, err error) {
	data := s.stock
	if data == "" {
		data = filepath.Join(dir, "data")
		took, err := upOnce(ctx, s, data, 20*time.Minute)
		if err != nil {
			return nil, err
		}
		out = append(out, figure{What: "up on an empty directory: the starter answers", Unit: "s", Ours: took.Seconds()})
	}
	defer func() { err = errors.Join(err, down(context.WithoutCancel(ctx), s, data)) }()
	var found, fresh, memory []float64
	for range starts {
		if err := down(ctx, s, data); err != nil {
			return out, err
		}
		took, err := upOnce(ctx, s, data, time.Minute)
		if err != nil {
			return out, err
		}
		fresh = append(fresh, took.Seconds()*1000)
		// The replica outlived the control plane.
		if took, err = upOnce(ctx, s, data, time.Minute); err != nil {
			return out, err
		}
		found = append(found, took.Seconds()*1000)
	}
	if err := withUp(ctx, s, data, time.Minute, func(int) error {
		time.Sleep(3 * time.Second) // idle
		memory = residents(data)
		return nil
	}); err != nil {
		return out, err
	}
	total := 0.0
	for _, m := range memory {
		total += m
	}
	return append(out,
		figure{What: "up on an existing directory to the first token, replica alive", Unit: "ms", Ours: quantile(found, 0.5)},
		figure{What: "up on an existing directory to the first token, replica started", Unit: "ms", Ours: quantile(fresh, 0.5)},
		figure{What: fmt.Sprintf("idle memory of %d processes (up, supervisor, replica)", len(memory)), Unit: "MiB resident", Ours: total}), nil
}

// upOnce is how long `up` takes from its start to the first token. It then ends the control plane alone.
func upOnce(ctx context.Context, s settings, data string, limit time.Duration) (took time.Duration, err error) {
	begin := time.Now()
	err = withUp(ctx, s, data, limit, func(int) error {
		took = time.Since(begin)
		return nil
	})
	return took, err
}

// withUp starts `up`, calls f after the first token, and ends the control plane.
func withUp(ctx context.Context, s settings, data string, limit time.Duration, f func(pid int) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := os.Remove(filepath.Join(data, "endpoint")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var said strings.Builder
	cmd := exec.CommandContext(ctx, s.triarch, "up", "--data", data, "--listen", "127.0.0.1:0")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		return err
	}
	err := firstToken(ctx, data)
	if err == nil {
		err = f(cmd.Process.Pid)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	if failed := cmd.Wait(); failed != nil && err == nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("up: %w\n%s", err, said.String())
	}
	return nil
}

// firstToken asks the starter until a token arrives.
func firstToken(ctx context.Context, data string) error {
	for ctx.Err() == nil {
		url, err := os.ReadFile(filepath.Join(data, "endpoint"))
		key, err2 := os.ReadFile(filepath.Join(data, "owner.key"))
		if err == nil && err2 == nil && ask(ctx, strings.TrimSpace(string(url)), strings.TrimSpace(string(key))) {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return fmt.Errorf("no token arrived: %w", ctx.Err())
}

func ask(ctx context.Context, url, key string) bool {
	body := `{"model":"starter","stream":true,"max_tokens":4,"messages":[{"role":"user","content":"What is a run?"}]}`
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return false
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return false
	}
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if strings.Contains(lines.Text(), `"content":"`) && !strings.Contains(lines.Text(), `"content":""`) {
			return true
		}
	}
	return false
}

func down(ctx context.Context, s settings, data string) error {
	if out, err := exec.CommandContext(ctx, s.triarch, "down", "--data", data).CombinedOutput(); err != nil {
		return fmt.Errorf("down: %w\n%s", err, out)
	}
	return nil
}

// residents is the resident memory in MiB of each process that names the data directory in its arguments.
func residents(data string) (out []float64) {
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		line, err := os.ReadFile(p)
		if err != nil || !strings.Contains(string(line), data) || strings.HasPrefix(string(line), os.Args[0]+"\x00") {
			continue
		}
		status, err := os.ReadFile(filepath.Join(filepath.Dir(p), "status"))
		if err != nil {
			continue // it has just ended
		}
		for l := range strings.SplitSeq(string(status), "\n") {
			if rest, ok := strings.CutPrefix(l, "VmRSS:"); ok {
				kb, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
				out = append(out, kb/1024)
			}
		}
	}
	return out
}
