// Package clients holds the test that drives a whole Triarch with the official OpenAI clients for Go, Node and Python,
// unchanged. What they need is fetched by .ci/run; a client that is not there fails the test, unless
// TRIARCH_ALLOW_SKIP=1.
package clients
