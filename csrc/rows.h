// Loops over a row of any length, a vector at a time; the last vector may be shorter. One loop body serves both, so an
// element's result cannot depend on its place in the row. And the choice of code by a number of rows.
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

// Runs `call` with MR as a constant: the number of rows, 1 to `most` (at most 6).
// clang-format off: a table of cases
#define WEFT_ROWS_CASE(count, most, call) { constexpr int MR = (count) < (most) ? (count) : (most); call; break; }
#define WEFT_BY_ROW_COUNT(rows, most, call)                                                                            \
    switch (rows) {                                                                                                    \
        case 1: WEFT_ROWS_CASE(1, most, call)                                                                          \
        case 2: WEFT_ROWS_CASE(2, most, call)                                                                          \
        case 3: WEFT_ROWS_CASE(3, most, call)                                                                          \
        case 4: WEFT_ROWS_CASE(4, most, call)                                                                          \
        case 5: WEFT_ROWS_CASE(5, most, call)                                                                          \
        default: WEFT_ROWS_CASE(6, most, call)                                                                         \
    }
// clang-format on

}  // namespace WEFT_NS
