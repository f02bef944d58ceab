// The gated delta rule (Gated DeltaNet), token after token. Columns of a head's state are independent of each other, so
// a task takes a few columns through all tokens of its sequence; they stay in the first-level cache.
#pragma once

#include "kernels.h"
#include "parallel.h"
#include "rows.h"

namespace WEFT_NS {

constexpr int SCAN_VECTORS = 2;  // vectors of columns in a task

// A row of q or k, [n], as floats times `scale`; `normalises` brings it to length one first.
template <int D>
static void delta_row(const typename Float<D>::T* x, int64_t n, bool normalises, float scale, float* out) {
    VF squares = zero();
    WEFT_FOR_ROW(n, i, count) {
        VF v = load_up_to<D>(x + i, count);
        squares = fma(v, v, squares);
        store_up_to<F32>(out + i, v, count);
    }
    if (normalises) scale = scale / __builtin_sqrtf(hsum(squares) + 1e-6f);
    WEFT_FOR_ROW(n, i, count) store_up_to<F32>(out + i, load_up_to<F32>(out + i, count) * splat(scale), count);
}

// Vector j of a task's `lanes` columns: its number of lanes, its load and its store. FULL: every vector has W lanes.
WEFT_INLINE int64_t lanes_of(int64_t lanes, int j) {
    int64_t left = lanes - j * W;
    return left < 0 ? 0 : left < W ? left : W;
}
template <int D, bool FULL> WEFT_INLINE VF load_lanes(const typename Float<D>::T* p, int64_t lanes, int j) {
    if (FULL) return Float<D>::load(p + j * W);
    return load_part<D>(p + j * W, (int)lanes_of(lanes, j));
}
template <int D, bool FULL> WEFT_INLINE void store_lanes(typename Float<D>::T* p, VF v, int64_t lanes, int j) {
    if (FULL) Float<D>::store(p + j * W, v);
    else store_part<D>(p + j * W, v, (int)lanes_of(lanes, j));
}

// A non-temporal store: v goes past the caches to p, which is aligned to a vector. `end_streams` orders such stores
// before later ones.
WEFT_INLINE void stream(float* p, VF v) {
#if defined(__AVX512F__)
    _mm512_stream_ps(p, (__m512)v);
#elif defined(__AVX2__)
    _mm256_stream_ps(p, (__m256)v);
#elif defined(__SSE2__)
    _mm_stream_ps(p, (__m128)v);
#else
    store(p, v);
#endif
}
WEFT_INLINE void end_streams() {
#if defined(__SSE2__)
    _mm_sfence();
#endif
}

// Some columns of a sequence's state, whose rows lie `width` floats apart. They are read from one state of `states`
// before the first token and written to another (or the same) after the last. A sequence that reads no state begins
// with zeros.
//
// A single token (a decode step) that does not write the state it reads uses non-temporal stores. Ordinary stores would
// fetch the target from memory first, which made such a step two to six times as long as one in place.
struct StateColumns {
    float* target;
    const float* source;          // of the next token
    int64_t width, source_width;  // source_width 0: the same zeros for each row
    bool streams;

    StateColumns(const ScanStep& step, int64_t seq, float* states, int64_t size, int64_t offset, int64_t width)
        : width(width) {
        alignas(64) static const float zeros[SCAN_VECTORS * W] = {};
        const int64_t read_id = step.read_ids[seq];
        target = states + step.write_ids[seq] * size + offset;
        source = read_id < 0 ? zeros : states + read_id * size + offset;
        source_width = read_id < 0 ? 0 : width;
        const bool aligned = (uintptr_t)target % sizeof(VF) == 0 && width % W == 0;
        streams = step.starts[seq + 1] - step.starts[seq] == 1 && source != target && aligned;
    }
    template <bool FULL> inline __attribute__((always_inline)) VF get(int64_t row, int64_t lanes, int j) const {
        return load_lanes<F32, FULL>(source + row * source_width, lanes, j);
    }
    template <bool FULL> inline __attribute__((always_inline)) void put(int64_t row, VF v, int64_t lanes, int j) const {
        if (FULL && streams) stream(target + row * width + j * W, v);
        else store_lanes<F32, FULL>(target + row * width, v, lanes, j);
    }
    // After a token: the next one reads what this one wrote.
    void advance() { source = target, source_width = width; }
    ~StateColumns() {
        if (streams) end_streams();
    }

    // For a sequence without tokens: the target becomes the state that it reads.
    void copy(int64_t rows, int64_t columns) const {
        if (source != target)
            for (int64_t i = 0; i < rows; i++)
                memcpy(target + i * width, source + i * source_width, sizeof(float) * (size_t)columns);
    }
};

template <int D, bool FULL>
static void delta_columns(const DeltaArgs& a, int64_t seq, int64_t head, int64_t first, int64_t lanes) {
    typedef typename Float<D>::T T;
    float k[LARGEST_KEY], q[LARGEST_KEY];
    const int64_t n = a.key_dim, key_head = head / (a.heads / a.key_heads);
    const int64_t start = a.step->starts[seq], end = a.step->starts[seq + 1];
    StateColumns state(*a.step, seq, a.states, a.heads * n * a.value_dim, head * n * a.value_dim + first, a.value_dim);
    if (start == end) state.copy(n, lanes);
    for (int64_t t = start; t < end; t++) {
        delta_row<D>((const T*)a.k + t * a.k_stride + key_head * n, n, a.normalises, 1.0f, k);
        delta_row<D>((const T*)a.q + t * a.q_stride + key_head * n, n, a.normalises, a.scale, q);
        const VF decay = vexp(splat(a.log_decays[t * a.heads + head])), beta = splat(a.betas[t * a.heads + head]);
        const T* v = (const T*)a.v + t * a.v_stride + head * a.value_dim + first;
        VF sums[4][SCAN_VECTORS] = {}, delta[SCAN_VECTORS];
        for (int64_t i = 0; i < n; i += 4)
            for (int r = 0; r < 4 && i + r < n; r++)
                for (int j = 0; j < SCAN_VECTORS; j++)
                    sums[r][j] = fma(splat(k[i + r]), state.get<FULL>(i + r, lanes, j), sums[r][j]);
        for (int j = 0; j < SCAN_VECTORS; j++) {
            VF known = decay * ((sums[0][j] + sums[1][j]) + (sums[2][j] + sums[3][j]));  // the state's value for k
            delta[j] = beta * (load_lanes<D, FULL>(v, lanes, j) - known);
            for (int r = 0; r < 4; r++) sums[r][j] = zero();
        }
        for (int64_t i = 0; i < n; i += 4)
            for (int r = 0; r < 4 && i + r < n; r++)
                for (int j = 0; j < SCAN_VECTORS; j++) {
                    VF s = fma(splat(k[i + r]), delta[j], decay * state.get<FULL>(i + r, lanes, j));
                    state.put<FULL>(i + r, s, lanes, j);
                    sums[r][j] = fma(splat(q[i + r]), s, sums[r][j]);
                }
        T* out = (T*)a.out + (t * a.heads + head) * a.value_dim + first;
        for (int j = 0; j < SCAN_VECTORS; j++)
            store_lanes<D, FULL>(out, (sums[0][j] + sums[1][j]) + (sums[2][j] + sums[3][j]), lanes, j);
        state.advance();
    }
}

template <int D> static void delta_task(const DeltaArgs& a, int64_t seq, int64_t head, int64_t first, int64_t left) {
    if (left >= SCAN_VECTORS * W) delta_columns<D, true>(a, seq, head, first, SCAN_VECTORS * W);
    else delta_columns<D, false>(a, seq, head, first, left);
}

static void gated_delta(const DeltaArgs& a) {
    const int64_t width = SCAN_VECTORS * W, parts = (a.value_dim + width - 1) / width;
    parallel_for(a.step->num_seqs * a.heads * parts, 1, [&](int64_t task) {
        int64_t part = task % parts, head = task / parts % a.heads, seq = task / parts / a.heads;
        int64_t first = part * width, left = a.value_dim - first;
        WEFT_BY_DTYPE(a.dtype, delta_task<D>(a, seq, head, first, left))
    });
}

}  // namespace WEFT_NS
