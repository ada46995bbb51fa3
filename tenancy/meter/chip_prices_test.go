package meter

import "testing"

func TestChipPricesTellWhatChanged(t *testing.T) {
	c := &ChipPrices{}
	if _, ok := c.Of("x"); ok || c.Set(nil) {
		t.Error("nothing is a change")
	}
	if !c.Set([]ChipPrice{{"x", 5}}) || c.Set([]ChipPrice{{"x", 5}}) || !c.Set([]ChipPrice{{"x", 6}}) {
		t.Error("what changed is not told")
	}
	if p, ok := c.Of("x"); p != 6 || !ok {
		t.Errorf("%d %v", p, ok)
	}
	if _, ok := c.Of("y"); ok || !c.Set(nil) {
		t.Error("a price that nobody set")
	}
}
