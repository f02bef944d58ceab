// A machine's memory nodes (NUMA): which CPUs belong to each node, and which column groups of a packed weight lie in
// its memory.
//
// An engine whose CPUs lie on several nodes makes one `Nodes`, and its weights point to it; an engine on one node has
// none. Results never depend on the nodes.
#pragma once

#include <stdint.h>

#if defined(__linux__)
#include <sched.h>
#endif

constexpr int MOST_NODES = 64, MOST_NODE_NUMBERS = 1024, MOST_CPUS = 8192;

struct Nodes {
    int count = 0;
    int numbers[MOST_NODES] = {};              // the system's number of each node
    int64_t cpus_before[MOST_NODES + 1] = {};  // number of CPUs of all nodes before each; the last: of all nodes
    uint8_t of_cpu[MOST_CPUS] = {};            // index of each CPU's node; 0 for a CPU of no node
};

// Node n holds the column groups [first_group(n), first_group(n + 1)), in proportion to its CPUs.
static inline int64_t first_group(const Nodes& nodes, int node, int64_t groups) {
    return groups * nodes.cpus_before[node] / nodes.cpus_before[nodes.count];
}

// Index of the node that the calling thread runs on. The index is looked up each time, because threads move.
static inline int node_here(const Nodes& nodes) {
#if defined(__linux__)
    int cpu = sched_getcpu();
    return cpu >= 0 && cpu < MOST_CPUS ? nodes.of_cpu[cpu] : 0;
#else
    return nodes.of_cpu[0];
#endif
}

// Asks the system to move each node's column groups of a packed tensor into the node's memory. The tensor has `bytes`
// bytes, in the order of a weight's panels. gated: it has two halves, gate and up, and a node holds the same groups of
// both. Returns 0, or the errno of the first refusal.
int place_panels(const Nodes& nodes, void* data, int64_t bytes, int64_t groups, bool gated);
