// Package system builds the program out of its parts: from one configuration, in order, and stops them in
// reverse. It holds the data directory, the roles (control, gateway; both in one process by default) and the
// inner commands that supervisors and workers enter by. It alone names drivers (drivers.go).
//
// A System is a value: tests build one on port 0 and an empty folder, start it and stop it, any number of times
// in one process.
package system
