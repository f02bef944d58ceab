// A mixture of experts (MoE) in one call: routing by softmax (or a routing that the caller gives), the experts'
// products for the tokens that chose them, the weighted sum.
//
// Only weights of experts in use are read, each once for all its tokens. A token's result is summed over its experts in
// the order of its routing, so it does not depend on the other tokens of the call.
#pragma once

#include "linear.h"

namespace WEFT_NS {

// The top_k experts of one token, likeliest first (of equal ones the lower id), and their weights. logits: [experts].
static void route(const float* logits, int64_t experts, int64_t top_k, bool renormalize, int32_t* ids, float* weights) {
    float best = logits[0];
    for (int64_t e = 1; e < experts; e++) best = logits[e] > best ? logits[e] : best;
    float total = 0;
    for (int64_t e = 0; e < experts; e += W) {
        int n = experts - e < W ? (int)(experts - e) : W;
        float terms[W];
        store(terms, vexp((n == W ? load(logits + e) : load_part<F32>(logits + e, n)) - splat(best)));
        for (int i = 0; i < n; i++) total += terms[i];
    }
    float chosen = 0;
    for (int64_t k = 0; k < top_k; k++) {
        int64_t at = -1;
        for (int64_t e = 0; e < experts; e++) {
            bool taken = false;
            for (int64_t i = 0; i < k; i++) taken |= ids[i] == e;
            if (!taken && (at < 0 || logits[e] > logits[at])) at = e;
        }
        float term[W];
        store(term, vexp(splat(logits[at] - best)));
        ids[k] = (int32_t)at;
        weights[k] = term[0] / total;
        chosen += weights[k];
    }
    if (renormalize)
        for (int64_t k = 0; k < top_k; k++) weights[k] /= chosen;
}

// The one allocation of a call, divided into arrays: `reserve` returns an array's place before memory exists, `at` its
// address afterwards.
struct MoEMemory {
    char* memory;
    size_t used = 0;

    template <class T> size_t reserve(int64_t count) {
        size_t at = used;
        used += (sizeof(T) * (size_t)count + 63) / 64 * 64;
        return at;
    }
    template <class T> T* at(size_t place) const { return (T*)(memory + place); }
};

// Runs one of the two products of all experts. Expert e has the rows [starts[e], starts[e + 1]) of x (pointers to rows)
// and of out, whose rows are `width` numbers.
template <class T>
static void expert_products(const Weight* weights, const int64_t* starts, int64_t experts, int act, bool gated,
                            const T* const* x, const float* const* sums, void* out, int out_dtype, int64_t width) {
    int64_t groups = gated ? weights[0].n / 2 / PANEL : (weights[0].n + GROUP - 1) / GROUP;
    int64_t size = out_dtype == F32 ? 4 : 2;
    parallel_groups(weights[0].nodes, {experts, groups, 1}, [&](int64_t e, int64_t group, int64_t) {
        int64_t first = starts[e], count = starts[e + 1] - first;
        LinearArgs a = {weights + e, nullptr, 0,       count, 0,    nullptr,
                        act,         gated,   nullptr, 0,     1.0f, (char*)out + first * width * size,
                        out_dtype,   width};
        for (int64_t r = 0; r < count; r += ROW_BLOCK)
            linear_task<T>(a, x + first, sums ? sums + first : nullptr, group, r,
                           count - r < ROW_BLOCK ? count - r : ROW_BLOCK);
    });
}

static void moe(const MoEArgs& a) {
    const int64_t pairs = a.m * a.top_k, hidden = a.gate_up[0].k, inner = a.gate_up[0].n / 2,
                  size = a.dtype == F32 ? 4 : 2;
    MoEMemory m;
    size_t ids_at = m.reserve<int32_t>(pairs), weights_at = m.reserve<float>(pairs),
           place_at = m.reserve<int64_t>(pairs), starts_at = m.reserve<int64_t>(a.num_experts + 1),
           next_at = m.reserve<int64_t>(a.num_experts), x_at = m.reserve<void*>(pairs),
           sums_at = m.reserve<void*>(pairs), logits_at = m.reserve<float>(a.m * a.num_experts),
           inner_at = m.reserve<char>(pairs * inner * size), result_at = m.reserve<float>(pairs * hidden);
    m.memory = (char*)aligned_alloc(64, m.used);
    const int32_t* ids = a.ids ? a.ids : m.at<int32_t>(ids_at);
    const float* weights = a.ids ? a.weights : m.at<float>(weights_at);
    float *logits = m.at<float>(logits_at), *result = m.at<float>(result_at);
    int64_t *place = m.at<int64_t>(place_at), *starts = m.at<int64_t>(starts_at), *next = m.at<int64_t>(next_at);
    if (!a.ids)
        parallel_for(a.m, 16, [&](int64_t t) {
            WEFT_BY_DTYPE(a.dtype, widen_row<D>((const typename Float<D>::T*)a.router_logits + t * a.num_experts,
                                                a.num_experts, logits + t * a.num_experts))
            route(logits + t * a.num_experts, a.num_experts, a.top_k, a.renormalize,
                  m.at<int32_t>(ids_at) + t * a.top_k, m.at<float>(weights_at) + t * a.top_k);
        });
    // place[i]: where pair i (token, choice) lies when pairs are sorted by expert, those of an expert by token.
    memset(starts, 0, sizeof(int64_t) * (a.num_experts + 1));
    for (int64_t i = 0; i < pairs; i++) starts[ids[i] + 1]++;
    for (int64_t e = 0; e < a.num_experts; e++) starts[e + 1] += starts[e];
    for (int64_t e = 0; e < a.num_experts; e++) next[e] = starts[e];
    for (int64_t i = 0; i < pairs; i++) place[i] = next[ids[i]]++;
    {
        Rows rows(a.gate_up[0], a.x, a.dtype, a.m, hidden);
        const void** x = m.at<const void*>(x_at);
        const float** sums = rows.sums ? m.at<const float*>(sums_at) : nullptr;
        for (int64_t i = 0; i < pairs; i++) {
            x[place[i]] = rows.x[i / a.top_k];
            if (sums) sums[place[i]] = rows.sums[i / a.top_k];
        }
        WEFT_BY_ROWS(rows, expert_products<T>(a.gate_up, starts, a.num_experts, a.act, true, (const T* const*)x, sums,
                                              m.at<char>(inner_at), a.dtype, inner))
    }
    {
        Rows rows(a.down[0], m.at<char>(inner_at), a.dtype, pairs, inner);
        WEFT_BY_ROWS(rows, expert_products<T>(a.down, starts, a.num_experts, ACT_NONE, false, (const T* const*)rows.x,
                                              rows.sums, result, F32, hidden))
    }
    parallel_for(a.m, 4, [&](int64_t t) {
        WEFT_BY_DTYPE(a.dtype, {
            typedef typename Float<D>::T E;
            E* out = (E*)a.out + t * hidden;
            const E* residual = a.residual ? (const E*)a.residual + t * hidden : nullptr;
            for (int64_t c = 0; c < hidden; c += W) {
                int n = hidden - c < W ? (int)(hidden - c) : W;
                VF sum = zero();
                for (int64_t k = 0; k < a.top_k; k++) {
                    const float* row = result + place[t * a.top_k + k] * hidden + c;
                    sum = fma(splat(weights[t * a.top_k + k]), n == W ? load(row) : load_part<F32>(row, n), sum);
                }
                sum = sum * splat(a.alpha);
                if (residual) sum = sum + (n == W ? Float<D>::load(residual + c) : load_part<D>(residual + c, n));
                if (n == W) Float<D>::store(out + c, sum);
                else store_part<D>(out + c, sum, n);
            }
        })
    });
    free(m.memory);
}

}  // namespace WEFT_NS
