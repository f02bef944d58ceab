// Samples a token for each row of logits: the likeliest (greedy), or one drawn after temperature, top-k, min-p and
// top-p. One thread does a whole row, so its sums run in one order. Filters are thresholds, defined in
// weft/ops/sampling/draw.py.
#pragma once

#include "kernels.h"
#include "selection.h"

namespace WEFT_NS {

constexpr int64_t DRAW_BLOCK = 512;  // tokens of a block: block sums are kept, so a draw scans one block

// The first token at which the cumulative weight exceeds number * total. sums: memory for the sum of each block.
static int64_t draw_from(const float* weights, int64_t n, double number, double* sums) {
    double total = 0, before = 0;
    int64_t blocks = (n + DRAW_BLOCK - 1) / DRAW_BLOCK, last = 0;
    for (int64_t b = 0; b < blocks; b++) {
        int64_t start = b * DRAW_BLOCK, size = n - start < DRAW_BLOCK ? n - start : DRAW_BLOCK;
        WideSum sum;
        WEFT_FOR_ROW(size, i, count) sum.add(load_or(weights + start + i, count, 0));
        sums[b] = sum.total();
        total += sums[b];
        if (sums[b] > 0) last = b;
    }
    double target = number * total;
    int64_t b = 0;
    while (b < last && before + sums[b] <= target) before += sums[b++];
    // Rounding may leave the target just behind the block's end: then the draw is the block's last token with any
    // weight.
    int64_t token = -1, stop = (b + 1) * DRAW_BLOCK < n ? (b + 1) * DRAW_BLOCK : n;
    for (int64_t i = b * DRAW_BLOCK; i < stop; i++) {
        if (!(weights[i] > 0)) continue;
        token = i;
        before += weights[i];
        if (before > target) break;
    }
    return token;
}

// The smallest value that top-p keeps. weights: e^(x - high), with the sum `total`. memory: [2 * n].
static float top_p_threshold(const float* x, const float* weights, int64_t n, double top_p, double total, float high,
                             float* memory) {
    // All tokens with less than (1 - top_p) * total / n weigh less than (1 - top_p) * total together, so top-p drops
    // them and the others decide. Halved, to be safe from rounding.
    double cut = 0.5 * (1 - top_p) * total / (double)n;
    float *values = memory, *kept_weights = memory + n;
    int64_t kept = 0;
    const VF limit = splat((float)cut);
    WEFT_FOR_ROW(n, i, count) {
        if (!any(load_or(weights + i, count, -1) >= limit)) continue;
        for (int64_t j = i; j < i + count; j++) {
            values[kept] = x[j];
            kept_weights[kept] = weights[j];
            kept += weights[j] >= (float)cut;
        }
    }
    return value_reaching(values, kept_weights, kept, top_p * total, -__builtin_inff(), high);
}

// Draws from row r: temperature, top-k, min-p, top-p, then the draw. memory: [5 * vocab].
static void draw_row(const DrawArgs& a, int64_t r, float* memory) {
    const int64_t n = a.vocab;
    float *x = a.logits + r * a.stride, *scaled = memory, *weights = memory + n, *rest = memory + 2 * n;
    int32_t* ids = (int32_t*)(memory + 4 * n);
    const VF divisor = splat(a.temperatures[r]);
    WEFT_FOR_ROW(n, i, count) store_up_to<F32>(scaled + i, load_up_to<F32>(x + i, count) / divisor, count);
    Peak best = peak(scaled, n);
    if (!best.is_number || best.value == -__builtin_inff()) {
        a.states[r] = best.is_number ? ROW_EMPTY : ROW_NO_NUMBERS;
        return;
    }
    float low = -__builtin_inff();
    if (a.top_ks[r] > 0 && a.top_ks[r] < n) low = kth_largest(scaled, n, a.top_ks[r], best.value, rest);
    if (a.min_ps[r] > 0) {
        float least = best.value + (float)__builtin_log((double)a.min_ps[r]);
        low = least > low ? least : low;
    }
    if (a.write_back) memcpy(x, scaled, sizeof(float) * (size_t)n);
    bool is_cut = low > -__builtin_inff();
    int64_t kept = is_cut ? keep_from(scaled, n, low, scaled, ids) : n;
    WideSum sum;
    WEFT_FOR_ROW(kept, i, count) {
        VF w = vexp(load_or(scaled + i, count, -__builtin_inff()) - splat(best.value));
        store_up_to<F32>(weights + i, w, count);
        sum.add(w);
    }
    if (a.top_ps[r] < 1) {
        float least = top_p_threshold(scaled, weights, kept, (double)a.top_ps[r], sum.total(), best.value, rest);
        low = least > low ? least : low;
        WEFT_FOR_ROW(kept, i, count) {
            VF v = load_or(scaled + i, count, 0);
            store_up_to<F32>(weights + i, v < splat(low) ? zero() : load_or(weights + i, count, 0), count);
        }
    }
    if (a.write_back && low > -__builtin_inff()) WEFT_FOR_ROW(n, i, count) {
            VF v = load_or(x + i, count, 0);
            store_up_to<F32>(x + i, v < splat(low) ? splat(-__builtin_inff()) : v, count);
        }
    int64_t place = draw_from(weights, kept, a.numbers[r], (double*)rest);
    a.tokens[r] = is_cut ? ids[place] : place;
    a.states[r] = ROW_GOOD;
}

static void draw(const DrawArgs& a) {
    parallel_for(a.rows, 1, [&](int64_t r) {
        if (a.temperatures && a.temperatures[r] > 0) {
            draw_row(a, r, a.memory + thread_index() * sampling_memory(a.vocab));
            return;
        }
        Peak best = peak(a.logits + r * a.stride, a.vocab);
        a.tokens[r] = best.at;
        a.states[r] = !best.is_number ? ROW_NO_NUMBERS : best.value == -__builtin_inff() ? ROW_EMPTY : ROW_GOOD;
    });
}

// Reports one row: the chosen token's value and rank, and the likeliest tokens, of equal ones the lower id first.
static void report_row(const ReportArgs& a, int64_t r, float* memory) {
    const int64_t n = a.vocab;
    const float* x = a.logits + a.row_ids[r] * a.stride;
    Peak best = peak(x, n);
    double shift = 0;
    if (!a.as_logits) {
        WideSum sum;
        WEFT_FOR_ROW(n, i, count) sum.add(vexp(load_or(x + i, count, -__builtin_inff()) - splat(best.value)));
        shift = (double)best.value + __builtin_log(sum.total());
    }
    float chosen = x[a.chosen_ids[r]];
    VI above = {};
    WEFT_FOR_ROW(n, i, count) above -= load_or(x + i, count, -__builtin_inff()) > splat(chosen);
    int64_t rank = 1;
    for (int i = 0; i < W; i++) rank += above[i];
    a.ranks[r] = rank;
    a.chosen[r] = (float)((double)chosen - shift);
    if (a.num_best == 0) return;

    int64_t* ids = a.best_ids + r * a.num_best;
    float* values = a.best + r * a.num_best;
    float low = kth_largest(x, n, a.num_best, best.value, memory);
    int64_t ties = a.num_best -
                   (int64_t)(low == best.value ? 0 : mass_from(x, nullptr, n, of_order(order_of(low) + 1)));
    int64_t found = 0;
    WEFT_FOR_ROW(n, i, count) {
        if (found == a.num_best || !any(load_or(x + i, count, -__builtin_inff()) >= splat(low))) continue;
        for (int64_t j = i; j < i + count; j++) {
            if (!(x[j] >= low) || found == a.num_best || (x[j] == low && ties-- <= 0)) continue;
            int64_t to = found++;
            for (; to > 0 && x[ids[to - 1]] < x[j]; to--) ids[to] = ids[to - 1];
            ids[to] = j;
        }
    }
    for (int64_t k = found; k < a.num_best; k++) ids[k] = 0;  // only a row with NaN has fewer
    for (int64_t k = 0; k < a.num_best; k++)
        values[k] = k < found ? (float)((double)x[ids[k]] - shift) : __builtin_nanf("");
}

static void report(const ReportArgs& a) {
    parallel_for(a.rows, 1, [&](int64_t r) { report_row(a, r, a.memory + thread_index() * sampling_memory(a.vocab)); });
}

}  // namespace WEFT_NS
