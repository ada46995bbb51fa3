package predict

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
)

// The same history gives the same answers and the same bytes on every machine: the digest was made on amd64 and holds
// on arm64. It changes only when the rule of prediction or the written form does.
func TestAnswersAreTheSameEverywhere(t *testing.T) {
	const want = "cce9251c59eac2b13a70d6aa32bbc11f82c52c7c82ac13255805510c1e829247"
	b := New(Options{})
	r := rand.New(rand.NewPCG(7, 7))
	sum := sha256.New()
	var live []string
	now, begun := int64(0), map[string]int64{}
	for i := range 2000 {
		now += r.Int64N(5 * minute)
		id := fmt.Sprint("job", i)
		user := []string{"", "ann", "bob"}[r.IntN(3)]
		must(t, b.Arrive(id, Features{User: user, Name: "n", Chips: 1 << r.IntN(7)}, now))
		must(t, b.Start(id, 0, 0, now))
		begun[id] = now
		live = append(live, id)
		if k := r.IntN(len(live)); len(live) > 20 {
			must(t, b.Finish(live[k], now-begun[live[k]], now))
			live = append(live[:k], live[k+1:]...)
		}
		for _, id := range live {
			e := estimate(t, b, id, now-begun[id])
			binary.Write(sum, binary.LittleEndian, e)
		}
	}
	data, err := b.MarshalBinary()
	must(t, err)
	sum.Write(data)
	if got := fmt.Sprintf("%x", sum.Sum(nil)); got != want {
		t.Errorf("the digest is %s", got)
	}
}
