// Work over OpenMP's threads: torch's own pool, because both link the same libgomp.so.1.
#pragma once

#include <stdint.h>

#include "nodes.h"

#ifdef _OPENMP
#include <omp.h>
#endif

// Calls body(i) for i in [0, count), `grain` at a time, by whichever thread is free. One thread when there is little.
template <class Body> static inline void parallel_for(int64_t count, int64_t grain, const Body& body) {
#ifdef _OPENMP
    if (count > grain && omp_get_max_threads() > 1 && !omp_in_parallel()) {
#pragma omp parallel for schedule(dynamic, 1)
        for (int64_t start = 0; start < count; start += grain) {
            int64_t stop = start + grain < count ? start + grain : count;
            for (int64_t i = start; i < stop; i++) body(i);
        }
        return;
    }
#endif
    for (int64_t i = 0; i < count; i++) body(i);
}

// Pieces of work on a packed weight, or on `outer` of them: `inner` for each column group.
struct Pieces {
    int64_t outer, groups, inner;
};

#ifdef _OPENMP
// What a node has left, of its groups [first, first + groups) in all of `outer`: pieces [next, end).
struct alignas(64) NodeQueue {
    int64_t next, end, first, groups;
};

// As parallel_groups: every thread first empties the queue of the node that it runs on, then helps the others.
template <class Body> static inline void parallel_by_node(const Nodes& nodes, Pieces p, int64_t grain, const Body& body) {
    NodeQueue queues[MOST_NODES];
    for (int n = 0; n < nodes.count; n++) {
        int64_t first = first_group(nodes, n, p.groups), groups = first_group(nodes, n + 1, p.groups) - first;
        queues[n] = {0, p.outer * groups * p.inner, first, groups};
    }
#pragma omp parallel
    for (int own = node_here(nodes), step = 0; step < nodes.count; step++) {
        NodeQueue& queue = queues[(own + step) % nodes.count];
        for (;;) {
            int64_t start;
#pragma omp atomic capture
            { start = queue.next; queue.next += grain; }
            if (start >= queue.end) break;
            for (int64_t i = start; i < start + grain && i < queue.end; i++)
                body(i / p.inner / queue.groups, queue.first + i / p.inner % queue.groups, i % p.inner);
        }
    }
}
#endif

// Calls body(outer, group, inner) for all pieces, `grain` at a time, by whichever thread is free. nodes: whose the groups
// are, null where there is one node.
template <class Body> static inline void parallel_groups(const Nodes* nodes, Pieces p, int64_t grain, const Body& body) {
#ifdef _OPENMP
    if (nodes && p.outer * p.groups * p.inner > grain && omp_get_max_threads() > 1 && !omp_in_parallel()) {
        parallel_by_node(*nodes, p, grain, body);
        return;
    }
#else
    (void)nodes;
#endif
    parallel_for(p.outer * p.groups * p.inner, grain, [&](int64_t i) {
        body(i / p.inner / p.groups, i / p.inner % p.groups, i % p.inner);
    });
}

// Of the calling thread within a parallel_for, from 0 to num_threads() - 1.
static inline int thread_index() {
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

static inline int num_threads() {
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}
