// probe: places where a tracer (bpftrace, perf, systemtap) can look into a running process: USDT.
//
// A probe is one nop and a note in the program's file; it costs nothing while nobody traces. Its
// name and arguments are what docs/OPERATIONS.md says of it, "Probes". Any thread.
#pragma once

#define SDT_USE_VARIADIC 1
#include <sys/sdt.h>

#define TANGELO_PROBE(name, ...) STAP_PROBEV(tangelo, name, __VA_ARGS__)
