package kill

import (
	"strings"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/api"
)

// living are the processes of attempts that have not ended, by their files.
func (p *place) living() (files []string) {
	for file, pid := range p.processes() {
		if strings.HasSuffix(file, "child.json") && alive(pid) {
			files = append(files, file)
		}
	}
	return files
}

// The control plane is killed in the middle of deploying and of removing: what was acknowledged comes true, and there is
// one replica where one is wanted and none where none is.
func TestControlPlaneKilledWhileDeploying(t *testing.T) {
	t.Parallel()
	p := newPlace(t, binaries.rig)
	p.furnish()
	key, version := p.paid(), p.slow()
	d, kills := dice(t), 0
	for range killCount(t, 3) {
		answered := make(chan error, 1)
		go func() {
			_, err := p.api.Deploy(t.Context(), api.NewDeployment{Name: "native", Model: version, Threads: 1,
				Route: &api.NewRoute{PriceIn: new(int64(1_000_000)), PriceOut: new(int64(2_000_000))}})
			answered <- err
		}()
		time.Sleep(upTo(d, 150*time.Millisecond))
		p.kill()
		err := <-answered
		p.up()
		if _, missing := p.api.Deployment(t.Context(), "native"); missing != nil {
			if err == nil {
				t.Fatalf("the deployment was acknowledged and is gone: %v", missing)
			}
			p.deploy(version, "native", 1)
		}
		c := p.serving("native").Copies
		if living := p.living(); len(c) != 1 || c[0].Attempt != 1 || c[0].Restarts != 0 || len(living) != 1 {
			t.Errorf("one replica was wanted: %+v, %v", c, living)
		}
		s := p.open(1, "native", key)

		go func() {
			_, err := p.api.RemoveDeployment(t.Context(), "native")
			answered <- err
		}()
		time.Sleep(upTo(d, 100*time.Millisecond))
		p.kill()
		err = <-answered
		p.settleAfter(s)
		_, gone := p.api.Deployment(t.Context(), "native")
		if err != nil && gone == nil { // perhaps the wish was not heard
			_, _ = p.api.RemoveDeployment(t.Context(), "native")
		}
		p.eventually("the deployment to be gone", func() bool {
			_, gone := p.api.Deployment(t.Context(), "native")
			return gone != nil && len(p.living()) == 0
		})
		kills += 2
	}
	t.Logf("%d kills in the middle of deploying and removing, slowest first answer %s", kills, p.slowest.Round(time.Millisecond))
}

// settleAfter starts the program again and holds the streams it had against their bills.
func (p *place) settleAfter(s *swarm) {
	p.t.Helper()
	streams := s.wait()
	p.up()
	p.settle(streams, p.oneWrite)
}
