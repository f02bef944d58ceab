// Work over OpenMP's threads: torch's own pool, because both link the same libgomp.so.1.
#pragma once

#include <stdint.h>

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
