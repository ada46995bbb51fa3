package decode

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestCacheKeepsItsBooks takes, shares, publishes and releases blocks at random and compares with plain maps: no block
// is lost or handed out twice, and what match finds holds what it was published with.
func TestCacheKeepsItsBooks(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const blocks = 6
		c := newCache(1, 1, 2, blocks)
		type user struct {
			tokens []int32
			held   []int32
		}
		var users []*user
		contents := map[int32][]int32{} // of each published block, all tokens up to its end
		rt.Repeat(map[string]func(*rapid.T){
			"start": func(rt *rapid.T) {
				u := &user{}
				for range rapid.IntRange(1, 3).Draw(rt, "blocks") {
					u.tokens = append(u.tokens, slices.Repeat([]int32{rapid.Int32Range(1, 2).Draw(rt, "kind")}, blockTokens)...)
				}
				need := len(u.tokens) / blockTokens
				found, key := c.match(nil, u.tokens, blockKey{})
				if len(found) >= need {
					rt.Fatalf("all %d blocks were found: none is left to compute", need)
				}
				for i, b := range found {
					if !slices.Equal(contents[b], u.tokens[:(i+1)*blockTokens]) {
						rt.Fatalf("block %d does not hold what it was found for", b)
					}
				}
				if need-len(found) > c.available() {
					for _, b := range found {
						c.release(b)
					}
					return
				}
				u.held = c.take(found, need-len(found))
				for i := len(found); i < need; i++ {
					for _, other := range users {
						if slices.Contains(other.held, u.held[i]) {
							rt.Fatalf("block %d has two writers", u.held[i])
						}
					}
					delete(contents, u.held[i])
					key = c.publish(u.held[i], key, u.tokens[i*blockTokens:(i+1)*blockTokens])
					if c.index[key] == u.held[i] {
						contents[u.held[i]] = u.tokens[:(i+1)*blockTokens]
					}
				}
				users = append(users, u)
			},
			"end": func(rt *rapid.T) {
				if len(users) == 0 {
					return
				}
				i := rapid.IntRange(0, len(users)-1).Draw(rt, "user")
				for _, b := range slices.Backward(users[i].held) {
					c.release(b)
				}
				users = slices.Delete(users, i, i+1)
			},
			"": func(rt *rapid.T) {
				held := map[int32]int32{}
				for _, u := range users {
					for _, b := range u.held {
						held[b]++
					}
				}
				if c.available() != blocks-len(held) {
					rt.Fatalf("%d blocks available, %d of %d held", c.available(), len(held), blocks)
				}
				for b, n := range c.refs {
					if n != held[int32(b)] {
						rt.Fatalf("block %d counts %d users, it has %d", b, n, held[int32(b)])
					}
				}
			},
		})
	})
}
