// Loops over a row of any length, a vector at a time; the last vector may be shorter. One loop body serves both, so an
// element's result cannot depend on its place in the row.
#pragma once

#include "simd.h"

namespace WEFT_NS {

// A loop over n elements: i is the first element of a vector, count its number of elements, W except in the last
// vector.
#define WEFT_FOR_ROW(n, i, count) for (int64_t i = 0, count; count = (n) - i < W ? (n) - i : W, i < (n); i += W)

template <int D> WEFT_INLINE VF load_up_to(const typename Float<D>::T* p, int64_t n) {
    return n == W ? Float<D>::load(p) : load_part<D>(p, (int)n);
}
template <int D> WEFT_INLINE void store_up_to(typename Float<D>::T* p, VF v, int64_t n) {
    if (n == W) Float<D>::store(p, v);
    else store_part<D>(p, v, (int)n);
}

}  // namespace WEFT_NS
