//go:build !race

package rawtcp

import (
	"io"
	"testing"
)

func TestAllocatesNothing(t *testing.T) {
	c, far := pair(t)
	go io.Copy(struct{ io.Writer }{far}, struct{ io.Reader }{far})
	question, answer := []byte("question"), make([]byte, 10)
	room := into(answer)
	n := testing.AllocsPerRun(100, func() {
		c.Write(question)
		if _, err := io.ReadFull(c, answer[:8]); err != nil {
			t.Fatal(err)
		}
		if sent, n, err := c.Ask(question[:4], question[4:], room, false); sent != 8 || n != 8 || err != nil {
			t.Fatal(sent, n, err)
		}
	})
	if n > 0 {
		t.Errorf("%v allocations for two questions and answers", n)
	}
}
