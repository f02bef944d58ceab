// A machine's memory nodes: which CPUs lie next to which, and which column groups of a packed weight belong to each.
//
// Made once for an engine whose CPUs lie on several nodes and carried by its weights; on one node there is none. Results
// never depend on it.
#pragma once

#include <stdint.h>

#if defined(__linux__)
#include <sched.h>
#endif

constexpr int MOST_NODES = 64, MOST_NODE_NUMBERS = 1024, MOST_CPUS = 8192;

struct Nodes {
    int count = 0;
    int numbers[MOST_NODES] = {};               // as the system counts them
    int64_t cpus_before[MOST_NODES + 1] = {};   // CPUs of the nodes before each; the last: of all
    uint8_t of_cpu[MOST_CPUS] = {};             // index of a CPU's node; 0 for one that is no node's
};

// Groups [first_group(n), first_group(n + 1)) are node n's: in proportion to its CPUs.
static inline int64_t first_group(const Nodes& nodes, int node, int64_t groups) {
    return groups * nodes.cpus_before[node] / nodes.cpus_before[nodes.count];
}

// Index of the node that the calling thread runs on. Threads are free to move: it is looked up, not kept.
static inline int node_here(const Nodes& nodes) {
#if defined(__linux__)
    int cpu = sched_getcpu();
    return cpu >= 0 && cpu < MOST_CPUS ? nodes.of_cpu[cpu] : 0;
#else
    return nodes.of_cpu[0];
#endif
}

// Asks the system to move the pages of each node's groups next to it, of a tensor of `bytes` whose panels are in the order
// of a weight's: gated weights have two halves, whose groups lie side by side. Returns 0, or the first refusal's errno.
int place_panels(const Nodes& nodes, void* data, int64_t bytes, int64_t groups, bool gated);
