// Parallel loops over OpenMP's threads. They are torch's own thread pool, because both link the same libgomp.so.1.
#pragma once

#include <stdint.h>

#include "nodes.h"

#ifdef _OPENMP
#include <omp.h>
#endif

// Calls body(i) for i in [0, count): a free thread takes the next `grain` indices. The calling thread does all of them
// when count <= grain, and within another parallel loop.
template <class Body> static inline void parallel_for(int64_t count, [[maybe_unused]] int64_t grain, const Body& body) {
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

// The pieces of work on `outer` packed weights of `groups` column groups each: `inner` pieces for each column group.
struct Pieces {
    int64_t outer, groups, inner;
};

#ifdef _OPENMP
constexpr int MOST_QUEUES = 256;

// Pieces [next, end) that no thread has taken yet.
struct alignas(64) Queue {
    int64_t next, end;
};

// Calls body(queue, piece) for the pieces of all queues. Each thread first empties queue number own(), then helps with
// the other queues in turn (work stealing).
template <class Own, class Body> static inline void empty_queues(Queue* queues, int count, const Own& own,
                                                                 const Body& body) {
#pragma omp parallel
    for (int first = own(), step = 0; step < count; step++) {
        int n = (first + step) % count;
        for (;;) {
            int64_t piece;
#pragma omp atomic capture
            piece = queues[n].next++;
            if (piece >= queues[n].end) break;
            body(n, piece);
        }
    }
}
#endif

// Calls body(outer, group, inner) for all pieces. A thread takes pieces that lie together, so that it reads one stream
// of memory, and then helps other threads. nodes: the memory nodes that hold the column groups, a queue for each node.
// null: one node, a queue for each thread.
template <class Body> static inline void parallel_groups(const Nodes* nodes, Pieces p, const Body& body) {
    const int64_t pieces = p.outer * p.groups * p.inner;
#ifdef _OPENMP
    if (pieces > 1 && omp_get_max_threads() > 1 && !omp_in_parallel()) {
        Queue queues[MOST_QUEUES];
        if (nodes) {
            int64_t first[MOST_NODES + 1];
            for (int n = 0; n <= nodes->count; n++) first[n] = first_group(*nodes, n, p.groups);
            for (int n = 0; n < nodes->count; n++) queues[n] = {0, p.outer * (first[n + 1] - first[n]) * p.inner};
            empty_queues(queues, nodes->count, [&] { return node_here(*nodes); }, [&](int n, int64_t i) {
                const int64_t groups = first[n + 1] - first[n];
                body(i / p.inner / groups, first[n] + i / p.inner % groups, i % p.inner);
            });
        } else {
            const int threads = omp_get_max_threads() < MOST_QUEUES ? omp_get_max_threads() : MOST_QUEUES;
            const int count = pieces < threads ? (int)pieces : threads;
            for (int n = 0; n < count; n++) queues[n] = {pieces * n / count, pieces * (n + 1) / count};
            empty_queues(queues, count, [&] { return omp_get_thread_num() % count; },
                         [&](int, int64_t i) { body(i / p.inner / p.groups, i / p.inner % p.groups, i % p.inner); });
        }
        return;
    }
#else
    (void)nodes;
#endif
    for (int64_t i = 0; i < pieces; i++) body(i / p.inner / p.groups, i / p.inner % p.groups, i % p.inner);
}

// Index of the calling thread within a parallel_for, from 0 to num_threads() - 1.
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
