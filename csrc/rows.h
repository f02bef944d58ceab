// Walking along a row of any length, a vector at a time: the last may be shorter. One loop body for both, so that an
// element's result cannot depend on where in the row it is.
#pragma once

#include "simd.h"

namespace WEFT_NS {

// for (place, count) over n elements: count is W but for the last.
#define WEFT_FOR_ROW(n, i, count) for (int64_t i = 0, count; count = (n) - i < W ? (n) - i : W, i < (n); i += W)

template <int D> WEFT_INLINE VF load_up_to(const typename Float<D>::T* p, int64_t n) {
    return n == W ? Float<D>::load(p) : load_part<D>(p, (int)n);
}
template <int D> WEFT_INLINE void store_up_to(typename Float<D>::T* p, VF v, int64_t n) {
    if (n == W) Float<D>::store(p, v);
    else store_part<D>(p, v, (int)n);
}

}  // namespace WEFT_NS
