// Package gateways holds what several gateway processes on one PostgreSQL promise together: budgets and rates hold over
// all of them, at every moment and whoever is killed. The processes are the real program with one engine more, the rig of
// test/kill.
package gateways
