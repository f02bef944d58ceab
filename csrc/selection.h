// Selection among the values of a long row without sorting it: the largest value (argmax), the k-th largest (top-k),
// and the value down to which weights reach a target (top-p). Every result is exact and depends on the row alone.
#pragma once

#include "parallel.h"
#include "rows.h"

namespace WEFT_NS {

typedef double VD __attribute__((vector_size(4 * WEFT_LANES)));  // half as many lanes
typedef float VFHalf __attribute__((vector_size(2 * WEFT_LANES)));

constexpr int64_t STRIPS = 2048;  // about this many maxima bound the k-th largest value from below

WEFT_INLINE bool any(VI mask) {
#if defined(__AVX512DQ__)
    return _mm512_movepi32_mask((__m512i)mask) != 0;
#elif defined(__AVX2__)
    return _mm256_movemask_epi8((__m256i)mask) != 0;
#else
    int32_t all = 0;
    for (int i = 0; i < W; i++) all |= mask[i];
    return all != 0;
#endif
}

// Loads n <= W floats; the other lanes become `rest`.
WEFT_INLINE VF load_or(const float* p, int64_t n, float rest) {
    if (n == W) return load(p);
    float x[W];
    for (int i = 0; i < W; i++) x[i] = i < n ? p[i] : rest;
    return load(x);
}

// A sum of floats in double precision: first lane by lane, then halves of lanes are added to halves.
struct WideSum {
    VD low = {}, high = {};

    inline __attribute__((always_inline)) void add(VF v) {
        VFHalf halves[2];
        memcpy(halves, &v, sizeof v);
        low = low + __builtin_convertvector(halves[0], VD);
        high = high + __builtin_convertvector(halves[1], VD);
    }
    inline __attribute__((always_inline)) double total() const {
        double x[W / 2];
        VD both = low + high;
        memcpy(x, &both, sizeof x);
        for (int n = W / 4; n > 0; n /= 2)
            for (int i = 0; i < n; i++) x[i] += x[i + n];
        return x[0];
    }
};

struct Peak {
    float value;
    int64_t at;      // index of the largest value, the first of equal ones
    bool is_number;  // the row has no NaN, and its largest value is not +inf
};

static Peak peak(const float* x, int64_t n) {
    const VF lowest = splat(-__builtin_inff());
    VF a = lowest, b = lowest;
    VI nan = {};
    int64_t i = 0;
    for (; i + 2 * W <= n; i += 2 * W) {
        VF u = load(x + i), v = load(x + i + W);
        nan |= (u != u) | (v != v);
        a = vmax(u, a);
        b = vmax(v, b);
    }
    for (; i < n; i += W) {
        VF v = load_or(x + i, n - i < W ? n - i : W, -__builtin_inff());
        nan |= v != v;
        a = vmax(v, a);
    }
    float value = hmax(vmax(a, b));
    if (any(nan) || value == __builtin_inff()) return {value, 0, false};
    const VF wanted = splat(value);
    for (i = 0; i + W <= n && !any(load(x + i) == wanted); i += W) {}
    while (i < n && x[i] != value) i++;
    return {value, i, true};
}

// Floats as integers that have the same order, and back.
WEFT_INLINE int64_t order_of(float v) {
    int32_t bits;
    memcpy(&bits, &v, 4);
    return bits ^ ((bits >> 31) & 0x7fffffff);
}
WEFT_INLINE float of_order(int64_t order) {
    int32_t bits = (int32_t)order;
    bits ^= (bits >> 31) & 0x7fffffff;
    float v;
    memcpy(&v, &bits, 4);
    return v;
}

// The total weight of the values that are at least `low`; without weights, their number.
static double mass_from(const float* x, const float* weights, int64_t n, float low) {
    WideSum mass;
    VI count = {};
    const VF limit = splat(low);
    for (int64_t i = 0; i < n; i += W) {
        int64_t left = n - i < W ? n - i : W;
        VF v = load_or(x + i, left, -__builtin_inff());
        if (weights) {
            VF w = load_or(weights + i, left, 0);
            mass.add(v >= limit ? w : zero());
        } else {
            VI is_in = v >= limit;
            if (left < W)
                for (int64_t j = left; j < W; j++) is_in[j] = 0;  // past the end: -inf >= a low of -inf
            count -= is_in;
        }
    }
    if (weights) return mass.total();
    double total = 0;
    for (int i = 0; i < W; i++) total += count[i];
    return total;
}

// The largest v for which the values >= v have a total weight (or number) of at least `target`; `low` if there is none.
// No value is above `high`. Bisects the floats between low and high; this works because sums in a fixed order are
// monotone in their terms, even when they are rounded.
static float value_reaching(const float* x, const float* weights, int64_t n, double target, float low, float high) {
    int64_t reaches = order_of(low), beyond = order_of(high) + 1;
    while (beyond - reaches > 1) {
        int64_t middle = reaches + (beyond - reaches) / 2;
        if (mass_from(x, weights, n, of_order(middle)) >= target) reaches = middle;
        else beyond = middle;
    }
    return of_order(reaches);
}

// Copies the values that are at least `low` to out, in order, and their indices to ids; returns their number. out may
// be x, ids may be null.
static int64_t keep_from(const float* x, int64_t n, float low, float* out, int32_t* ids) {
    int64_t kept = 0;
    const VF limit = splat(low);
    WEFT_FOR_ROW(n, i, count) {
        VF v = load_or(x + i, count, -__builtin_inff());
        if (!any(v >= limit)) continue;
        float values[W];
        store(values, v);
        for (int64_t j = 0; j < count; j++) {
            out[kept] = values[j];
            if (ids) ids[kept] = (int32_t)(i + j);
            kept += values[j] >= low;
        }
    }
    return kept;
}

// The k-th largest of n values, none above `high`; 1 <= k <= n. memory: [n] floats.
//
// A strip is one lane of a few vectors. The k-th largest of the maxima of all strips is a lower bound, which few values
// reach, so only those are searched.
static float kth_largest(const float* x, int64_t n, int64_t k, float high, float* memory) {
    const float lowest = -__builtin_inff();
    int64_t vectors = n / W, length = vectors / (STRIPS / W), maxima = 0;
    if (length < 1) length = 1;
    for (int64_t v = 0; v + length <= vectors; v += length, maxima += W) {
        VF most = load(x + v * W);
        for (int64_t j = 1; j < length; j++) most = vmax(load(x + (v + j) * W), most);
        store(memory + maxima, most);
    }
    if (k > maxima) return value_reaching(x, nullptr, n, (double)k, lowest, high);
    float bound = value_reaching(memory, nullptr, maxima, (double)k, lowest, high);
    int64_t kept = keep_from(x, n, bound, memory, nullptr);
    return value_reaching(memory, nullptr, kept, (double)k, bound, high);
}

}  // namespace WEFT_NS
