package cli

import (
	"testing"

	"github.com/triarch-ai/triarch/internal/fault"
)

func TestPasswordsAreNoArguments(t *testing.T) {
	for address, refused := range map[string]bool{
		"":                                      false,
		"sqlite:state.db":                       false,
		"postgres://u@host/db":                  false,
		"postgres://u@host/db?sslmode=require":  false,
		"postgres://u@host/db?passfile=/x":      false,
		"postgres://u:x@host/db":                true,
		"postgres://u:@host/db":                 true,
		"postgres://u@host/db?password=x":       true,
		"postgres://u@host/db?a=b&password=":    true,
		"postgres://u@host/db?pass%77ord=x":     true,
		"postgres://u@host/db?PassWord=x":       true,
		"postgres://u@host/db?sslpassword=x":    true,
		"postgresql://host/db?a=%zz&password=x": true,
	} {
		if err := passwordInArguments(address); (err != nil) != refused || err != nil && fault.As(err).Field != "database" {
			t.Errorf("%s: %v", address, err)
		}
	}
}
