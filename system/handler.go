package system

import "net/http"

// handler is everything the API answers.
func (s *System) handler() (http.Handler, error) {
	return http.NotFoundHandler(), nil
}
