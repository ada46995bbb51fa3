package queue

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/triarch-ai/triarch/api"
)

const scanned = "compute:\n  scan: 200ms\n  min-run: 3s\n  round: 1s\n  programs: developers\nlog:\n  level: info\n"

// vendor is a tool on the program's path that prints what the test says, in the form of nvidia-smi's.
type vendor struct {
	*place
	file string
}

const smiHead = "index, uuid, name, pci.bus_id, driver_version, memory.total [MiB], memory.used [MiB], utilization.gpu [%], temperature.gpu, power.draw [W], power.limit [W], ecc.errors.uncorrected.volatile.total, retired_pages.pending\n"

func newVendor(p *place) *vendor {
	v := &vendor{p, filepath.Join(filepath.Dir(p.dir), "tells")}
	bin := filepath.Join(filepath.Dir(p.dir), "bin")
	p.ok(os.MkdirAll(bin, 0o700))
	p.ok(os.WriteFile(filepath.Join(bin, "nvidia-smi"), []byte("#!/bin/sh\ncat "+v.file+"\n"), 0o700))
	p.env = append(p.env, "PATH="+bin+":"+os.Getenv("PATH"))
	return v
}

// tell has the tool name devices, each by its number and what else its line says: the memory errors, or a state in place of its temperature.
func (v *vendor) tell(devices ...string) {
	v.t.Helper()
	text := smiHead
	for _, d := range devices {
		number, state, _ := strings.Cut(d, ":")
		heat, errors := "40", "0"
		switch {
		case strings.HasPrefix(state, "["):
			heat = state
		case state != "":
			errors = state
		}
		text += fmt.Sprintf("%s, GPU-0000000%s-aaaa, NVIDIA H100 80GB HBM3, 00000000:0%s:00.0, 580.1, 81559 MiB, 10 MiB, 0 %%, %s, 100.00 W, 700.00 W, %s, [N/A]\n", number, number, number, heat, errors)
	}
	v.ok(os.WriteFile(v.file+".new", []byte(text), 0o600))
	v.ok(os.Rename(v.file+".new", v.file))
}

func (x *party) node(name string) (n api.Node) {
	x.t.Helper()
	list, err := x.owner.Nodes(x.t.Context())
	x.ok(err)
	if i := slices.IndexFunc(list, func(n api.Node) bool { return strings.HasSuffix(n.Name, name) }); i >= 0 {
		n = list[i]
	}
	return n
}

func holdings(j api.Job) (list []int32) {
	for _, s := range j.Placement {
		list = append(list, s.Devices...)
	}
	return list
}

// TestDevices has devices found by a vendor's tool, given out and told to programs by their make's variable, and what follows when they fail: a
// lost one moves its job, which is not to blame, a kill of the control plane on the way changes nothing, one that cannot be read drains
// its node once, and people see why and resume it.
func TestDevices(t *testing.T) {
	var v *vendor
	p := newPlace(t, scanned, func(p *place) { v = newVendor(p); v.tell("0", "1", "2", "3") })
	x := p.party("default")
	const class = "nvidia-h100-sxm"
	x.eventually("the devices to be found", func() bool { n := x.node(class); return n.Chips == 4 && len(n.Devices) == 4 })
	if n := x.node(class); n.Chip != class || n.Devices[2].ID != "GPU-00000002-aaaa" || n.Devices[2].MemoryBytes != 81559<<20 {
		t.Errorf("%+v", n)
	}

	job := x.submit("--name", "moved", "--chips", "2", "--chip", class, "echo sees $CUDA_VISIBLE_DEVICES; sleep 1000")
	at := func() api.Job { return x.job(job.ID) }
	running := func(attempt int) func() bool {
		return func() bool { j := at(); return j.State == "running" && j.Attempt == attempt }
	}
	x.eventually("the job to run", running(1))
	held := holdings(at())
	want := fmt.Sprintf("sees GPU-0000000%d-aaaa,GPU-0000000%d-aaaa\n", held[0], held[1])
	x.eventually("what it sees", func() bool { return x.logs("moved") == want })

	// 1 a device is gone: twice not named, and the job moves.
	rest := func(but int32) (list []string) {
		for i := range int32(4) {
			if i != but {
				list = append(list, fmt.Sprint(i))
			}
		}
		return list
	}
	gone := held[0]
	v.tell(rest(gone)...)
	x.eventually("the job to move", running(2))
	j := at()
	if slices.Contains(holdings(j), gone) || j.Restarts != 0 || j.Preempted != 0 || !strings.Contains(j.Reason, "not there any more") {
		t.Errorf("on %v after %d restarts, made way %d times: %s", holdings(j), j.Restarts, j.Preempted, j.Reason)
	}
	if n := x.node(class); n.Draining || n.Devices[gone].Out == "" {
		t.Errorf("%+v", n)
	}
	var said string
	x.cli(&said, "", "node", "ls")
	if !strings.Contains(said, "1 out") || !strings.Contains(said, "the device is not there any more (remove)") {
		t.Errorf("node ls:\n%s", said)
	}
	wide := x.submit("--name", "wide", "--chips", "4", "--chip", class, "true")
	x.eventually("the reason why it waits", func() bool {
		x.cli(&said, "", "job", "explain", wide.ID)
		return strings.Contains(said, "take no work")
	})

	// 2 it comes back, another goes, and the control plane is killed in between.
	v.tell("0", "1", "2", "3")
	x.eventually("it to be well", func() bool { return x.node(class).Devices[gone].Out == "" })
	_, err := x.c.JobAct(t.Context(), "", wide.ID, "cancel")
	x.ok(err)
	held = holdings(at())
	p.kill()
	v.tell(fmt.Sprintf("%d:[GPU is lost]", held[0]), rest(held[0])[0], rest(held[0])[1], rest(held[0])[2])
	p.up()
	x.again()
	x.eventually("the job to move", running(3))
	if j := at(); slices.Contains(holdings(j), held[0]) || j.Restarts != 0 {
		t.Errorf("on %v after %d restarts: %s", holdings(j), j.Restarts, j.Reason)
	}
	p.kill()
	p.up()
	x.again()
	if j := at(); j.Attempt != 3 || j.State != "running" {
		t.Errorf("a start of the control plane alone has it %s, attempt %d: %s", j.State, j.Attempt, j.Reason)
	}

	// 3 memory errors: the job begins anew where it is.
	held = holdings(at())
	v.tell("0", "1", "2", "3")
	x.eventually("all to be well", func() bool {
		return !slices.ContainsFunc(x.node(class).Devices, func(d api.NodeDevice) bool { return d.Out != "" })
	})
	v.tell(fmt.Sprintf("%d:7", held[1]), rest(held[1])[0], rest(held[1])[1], rest(held[1])[2])
	x.eventually("the job to begin anew", running(4))
	if n := x.node(class); n.Devices[held[1]].Out != "" || len(n.Devices[held[1]].Faults) != 1 {
		t.Errorf("%+v", n.Devices)
	}

	// 4 one that cannot be read drains the node, once; resumed, it stays resumed.
	free := int32(0)
	for slices.Contains(holdings(at()), free) {
		free++
	}
	v.tell(fmt.Sprintf("%d:[Unknown Error]", free), rest(free)[0], rest(free)[1], rest(free)[2])
	x.eventually("the node to be drained", func() bool { return x.node(class).Draining })
	if n := x.node(class); !strings.Contains(n.Reason, fmt.Sprintf("GPU-0000000%d-aaaa: the tool cannot read the device", free)) {
		t.Errorf("%+v", n)
	}
	since := *x.node(class).Since
	p.kill()
	p.up()
	x.again()
	if n := x.node(class); !n.Draining || !n.Since.Equal(since) {
		t.Errorf("drained again: %+v", n)
	}
	_, err = x.owner.ResumeNode(t.Context(), x.node(class).Name)
	x.ok(err)
	next := x.submit("--name", "next", "--chips", "2", "--chip", class, "sleep 1000")
	x.eventually("the device that was resumed to be used", func() bool { return x.job(next.ID).State == "running" })
	if n := x.node(class); n.Draining || n.Devices[free].Out != "" || len(n.Devices[free].Faults) != 1 {
		t.Errorf("%+v", n)
	}
	if j := at(); j.Attempt != 4 {
		t.Errorf("the other job is at attempt %d: %s", j.Attempt, j.Reason)
	}

	// 5 a program that dies of its device before anybody looks is not to blame.
	v.tell("0", "1", "2", "3")
	x.eventually("it to be well", func() bool { return len(x.node(class).Devices[free].Faults) == 0 })
	died := holdings(x.job(next.ID))[0]
	text := v.file
	x.cli(nil, "", "job", "cancel", next.ID)
	x.eventually("room", func() bool { return x.node(class).Used == 2 })
	crash := x.submit("--name", "crash", "--chips", "2", "--chip", class, fmt.Sprintf("if [ $TRIARCH_FENCE = 1 ]; then sed 's/^%d, \\(.*\\), 0 %%, 40,/%d, \\1, 0 %%, [GPU is lost],/' %s >%s.x; mv %s.x %s; exit 9; fi; sleep 1000", died, died, text, text, text, text))
	x.eventually("it to run elsewhere, or to wait for room", func() bool {
		j := x.job(crash.ID)
		return j.Attempt == 2 || j.State == "queued" && j.Fault == "node" || j.State == "failed"
	})
	if j := x.job(crash.ID); j.State == "failed" {
		t.Errorf("it is blamed: %s (%s)", j.Reason, j.Fault)
	}
}

// TestDeclaredNodes has somebody declare a node's chips by hand, and work run there.
func TestDeclaredNodes(t *testing.T) {
	p := newPlace(t, scanned)
	x := p.party("default")
	x.cli(nil, "", "node", "declare", "rack1", "--chip", "huawei-910b2", "--chips", "4+4")
	if n := x.node("rack1"); n.Chips != 8 || !n.Declared || n.Chip != "huawei-910b2" {
		t.Errorf("%+v", n)
	}
	j := x.submit("--name", "on-them", "--chips", "4", "--chip", "huawei-910b2", "echo sees $ASCEND_RT_VISIBLE_DEVICES; sleep 1000")
	x.eventually("the job to run", func() bool { return x.job(j.ID).State == "running" })
	x.eventually("what it sees", func() bool { return x.logs("on-them") == "sees 0,1,2,3\n" })
	if _, problem, code := p.sh("node", "rm", "rack1"); code != 5 || !strings.Contains(problem, "in use") {
		t.Errorf("%d %s", code, problem)
	}
	if _, problem, code := p.sh("node", "declare", x.node("").Name, "--chip", "mine", "--chips", "4"); code != 5 {
		t.Errorf("%d %s", code, problem)
	}
	p.kill()
	p.up()
	x.again()
	if n := x.node("rack1"); n.Used != 4 || x.job(j.ID).Attempt != 1 {
		t.Errorf("%+v", n)
	}
	x.cli(nil, "", "job", "cancel", j.ID)
	x.eventually("it to be empty", func() bool { return x.node("rack1").Used == 0 })
	x.cli(nil, "", "node", "rm", "rack1")
	if n := x.node("rack1"); n.Name != "" {
		t.Errorf("%+v", n)
	}
	for _, args := range [][]string{{"node", "declare", "rack2"}, {"node", "declare", "rack2", "--chip", "x", "--chips", "many"}, {"node", "rm", "nowhere"}} {
		if _, problem, code := p.sh(args...); code == 0 || problem == "" {
			t.Errorf("%v: %d %s", args, code, problem)
		}
	}
}
