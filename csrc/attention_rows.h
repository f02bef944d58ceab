// The online softmax of a row: its spans are added to a state one after another, and the states of its segments
// (split-KV partials) are merged in order.
//
// Spans of 64 keys and segments of 512 keys are counted from position 0 of the sequence, so the order of a row's sums
// depends on the row alone. Functions that round are never inlined, so all callers run the same code.
#pragma once

#include "attention_tiles.h"

namespace WEFT_NS {
namespace paged {

constexpr int SEGMENT = SEGMENT_SPANS * SPAN;
constexpr float LOG2E = 1.44269504f;
#define WEFT_ONE_COPY static __attribute__((noinline))

// Floats of a state: [0] the largest score, in units of log 2; [16, 16 + W) the sum of weights, by vector lane;
// [STATE_VALUES, STATE_VALUES + width) the sum of weighted values.
constexpr int STATE_SUMS = 16;
WEFT_INLINE int64_t state_size(int64_t width) { return STATE_VALUES + width; }

WEFT_INLINE void clear_state(float* state, int64_t width) {
    memset(state, 0, sizeof(float) * state_size(width));
    state[0] = -__builtin_inff();
}

// 2^x for x <= 0, relative error 2e-7; 0 for -inf, NaN for NaN. x = n + r with 0 <= r < 1; 2^r by a minimax polynomial.
WEFT_INLINE VF exp2_down(VF x) {
#if defined(__AVX512F__)
    VF r = (VF)_mm512_maskz_reduce_ps(0xffff, (__m512)x, 1);  // x - floor(x); 0 for -inf
#else
    VF y = vmax(splat(-126.0f), x);
#if defined(__AVX2__)
    VF n = (VF)_mm256_floor_ps((__m256)y);
#else
    VF n = (y + splat(12582912.0f)) - splat(12582912.0f);
    n = n > y ? n - splat(1.0f) : n;
#endif
    VF r = y - n;
#endif
    VF p = splat(0.00186713014f);
    p = fma(p, r, splat(0.00901703014f));
    p = fma(p, r, splat(0.0557999133f));
    p = fma(p, r, splat(0.24016445f));
    p = fma(p, r, splat(0.693151312f));
    p = fma(p, r, splat(1.0f));
#if defined(__AVX512F__)
    return (VF)_mm512_maskz_scalef_ps(0xffff, (__m512)p, (__m512)x);  // times 2^floor(x)
#else
    p = p * (VF)((__builtin_convertvector(n, VI) + 127) << 23);
    return x < splat(-126.0f) ? zero() : p;
#endif
}
WEFT_INLINE float exp2_down(float x) { return exp2_down(splat(x))[0]; }

WEFT_INLINE float largest(VF v) {
#if defined(__AVX2__)
#if defined(__AVX512F__)
    __m256 half[2];
    memcpy(half, &v, sizeof half);
    __m256 y = _mm256_max_ps(half[0], half[1]);
#else
    __m256 y = (__m256)v;
#endif
    __m128 z = _mm_max_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
    z = _mm_max_ps(z, _mm_movehl_ps(z, z));
    return _mm_cvtss_f32(_mm_max_ss(z, _mm_movehdup_ps(z)));
#else
    return hmax(v);
#endif
}

// The keys [begin, end) that a row sees, and the position of its query in the sequence, which may lie outside the keys.
struct SeenKeys {
    int32_t begin, end, query;
};
WEFT_INLINE SeenKeys seen_keys(const AttentionStep& s, int64_t seq, int64_t token, int64_t query) {
    int32_t at = s.seq_lens[seq] - s.query_lens[seq] + (int32_t)query;
    if (s.first_keys) return {s.first_keys[token + query], s.end_keys[token + query], at};
    return {s.window && at >= s.window ? (int32_t)(at + 1 - s.window) : 0, at + 1, at};
}

// What a layer does to the scores of one query head.
struct ScoreRule {
    float factor;              // brings scores to units of log 2, where there is no cap
    float softcap, inner;      // the cap in units of log 2; factor within the tanh
    float slope, bias_factor;  // ALiBi
    bool has_alibi, is_bf16;
    const float* by_distance;  // bias at distance 0, in the middle of 2 * farthest + 1 numbers; or null
    int32_t farthest;
};

WEFT_INLINE void put_weights(float* p, VF first, VF) { store(p, first); }
#if defined(__AVX512BF16__)
WEFT_INLINE void put_weights(uint16_t* p, VF first, VF second) {
    __m512bh h = _mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
    memcpy(p, &h, sizeof h);
}
#endif

WEFT_INLINE VF lanes() {
    VF v;
    for (int i = 0; i < W; i++) v[i] = (float)i;
    return v;
}

// ALiBi's bias of the W keys from position `at` on, for a query at position `query`; in units of log 2.
WEFT_INLINE VF alibi_bias(const ScoreRule& rule, float at, float query) {
    VF position = splat(at) + lanes();
    if (!rule.is_bf16) return splat(rule.slope) * (position - splat(query)) * splat(rule.bias_factor);
    uint16_t rounded[W];
    store_bf16(rounded, position);
    VF product = splat(rule.slope) * load_bf16(rounded);
    store_bf16(rounded, product);
    return load_bf16(rounded) * splat(rule.bias_factor);
}

// The bias by distance of the W keys from `distance` tokens after the query on; in units of log 2.
WEFT_INLINE VF distance_bias(const ScoreRule& rule, int64_t distance) {
    const int64_t most = rule.farthest;
    VF v;
    if (distance >= -most && distance + W - 1 <= most) v = load(rule.by_distance + distance);
    else
        for (int i = 0; i < W; i++) {
            int64_t at = distance + i;
            v[i] = rule.by_distance[at < -most ? -most : at > most ? most : at];
        }
    return v * splat(LOG2E);
}

// Applies the cache's scales, the rule and the mask to a row's scores t [64]: they come to units of log 2, -inf for
// keys that the row does not see. start: position of the span's first key.
template <class T>
static void finish_scores(const ScoreRule& rule, const Span<T>& span, bool scaled, int64_t start, const SeenKeys& keys,
                          VF* t) {
    for (int i = 0; i < SPAN / W; i++) {
        int key = i * W, block = key / KV_BLOCK;
        VF v = t[i];
        if (scaled) v = v * load(span.key_scales[block] + key % KV_BLOCK);
        if (rule.softcap != 0) v = splat(rule.softcap) * vtanh(v * splat(rule.inner));
        else v = v * splat(rule.factor);
        if (rule.has_alibi) v = v + alibi_bias(rule, (float)(start + key), (float)keys.query);
        if (rule.by_distance) v = v + distance_bias(rule, start + key - keys.query);
        VF position = splat((float)key) + lanes();
        VF low = splat((float)(keys.begin - start)), high = splat((float)(keys.end - start));
        v = position < low ? splat(-__builtin_inff()) : v;
        t[i] = position < high ? v : splat(-__builtin_inff());
    }
}

// Adds a span to a row's softmax: makes weights p [64] of the scores [64] of the keys from position `start` on, and
// updates the row's state. The row must see at least one of these keys. unit: the cached numbers' (unit_of).
template <class T>
WEFT_ONE_COPY void soften(const ScoreRule& rule, const Span<T>& span, bool scaled, bool plain, float unit,
                          const float* scores, int64_t start, const SeenKeys& keys, int64_t width, T* p, float* state) {
    constexpr int N = SPAN / W;
    VF t[N];
    for (int i = 0; i < N; i++) t[i] = load(scores + i * W) * splat(unit);
    if (plain && start >= keys.begin && start + SPAN <= keys.end)
        for (int i = 0; i < N; i++) t[i] = t[i] * splat(rule.factor);
    else finish_scores(rule, span, scaled, start, keys, t);
    VF top = t[0];
    for (int i = 1; i < N; i++) top = vmax(t[i], top);
    float before = state[0], now = largest(top);
    now = now > before ? now : before;
    VF sums = load(state + STATE_SUMS);
    if (now > before) {
        state[0] = now;
        if (before != -__builtin_inff()) {
            VF shrink = splat(exp2_down(before - now));
            sums = sums * shrink;
            float* values = state + STATE_VALUES;
            for (int64_t i = 0; i < width; i += W) store(values + i, load(values + i) * shrink);
        }
    }
    VF sum = zero();
    for (int i = 0; i < N; i++) {
        t[i] = exp2_down(t[i] - splat(now));
        sum = sum + t[i];
    }
    store(state + STATE_SUMS, sums + sum);
    if (scaled)
        for (int i = 0; i < N; i++) t[i] = t[i] * load(span.value_scales[i * W / KV_BLOCK] + i * W % KV_BLOCK);
    if (unit != 1.0f)
        for (int i = 0; i < N; i++) t[i] = t[i] * splat(unit);
    constexpr int STEP = sizeof(T) == 2 ? 2 : 1;
    for (int i = 0; i < N; i += STEP) put_weights(p + i * W, t[i], t[i + STEP - 1]);
}

// Merges the state of a row's next segment into `total`, the state of its earlier segments.
WEFT_ONE_COPY void merge_state(float* total, const float* segment, int64_t width) {
    float top = segment[0] > total[0] ? segment[0] : total[0];
    VF a = splat(exp2_down(total[0] - top)), b = splat(exp2_down(segment[0] - top));
    total[0] = top;
    store(total + STATE_SUMS, fma(load(segment + STATE_SUMS), b, load(total + STATE_SUMS) * a));
    for (int64_t i = STATE_VALUES; i < STATE_VALUES + width; i += W)
        store(total + i, fma(load(segment + i), b, load(total + i) * a));
}

// Writes a row's result to out, [d] of type D: its sum of weighted values over its sum of weights, zeros if the row saw
// no key. sink: a logit that joins the softmax without a value, or null.
template <int D>
WEFT_ONE_COPY void finish_attention(const float* state, const float* sink, int64_t d, typename Float<D>::T* out) {
    float sum = hsum(load(state + STATE_SUMS)), factor = 1.0f;
    if (sink) {
        float logit = *sink * LOG2E, top = logit > state[0] ? logit : state[0];
        factor = exp2_down(state[0] - top);
        sum = sum * factor + exp2_down(logit - top);
    }
    VF scale = splat(sum == 0 ? 0.0f : factor / sum);
    int64_t i = 0;
    for (; i + W <= d; i += W) Float<D>::store(out + i, load(state + STATE_VALUES + i) * scale);
    if (i < d) store_part<D>(out + i, load(state + STATE_VALUES + i) * scale, (int)(d - i));
}

}  // namespace paged
}  // namespace WEFT_NS
