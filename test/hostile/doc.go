// Package hostile has tests of the program itself, as people start it, between a provider that does all it can to harm it
// and clients that do the same: requests end clearly and in time, memory stays bounded, bills are right, others are served.
//
// By default there are 500 idle streams and what takes longer than twenty seconds to end is hung up on. TRIARCH_HOSTILE_STREAMS
// is another number of streams, TRIARCH_HOSTILE_LONG=1 waits for the end of slow bodies and readers too, and
// TRIARCH_OUTAGE is how long the database is away, such as 1m.
package hostile
