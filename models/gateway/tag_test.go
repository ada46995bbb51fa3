package gateway

import (
	"strings"
	"testing"
)

func TestCheckTag(t *testing.T) {
	for tag, good := range map[string]bool{
		"": true, "a": true, "team-a/batch.7:x_y@z": true, strings.Repeat("x", 64): true,
		strings.Repeat("x", 65): false, "-a": false, "=cmd()": false, "a b": false, "ä": false, "a\x00": false, "a,b": false, "@a": false,
	} {
		if err := CheckTag(tag); (err == nil) != good {
			t.Errorf("%q: %v", tag, err)
		}
	}
}
