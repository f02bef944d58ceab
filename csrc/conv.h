// The short causal convolution along a sequence, each channel by itself: y[t] = act(bias + sum_k w[k] * x[t - K + 1 + k]).
// What came before the first token lies in the sequence's state, and what later tokens need is left there.
#pragma once

#include "kernels.h"
#include "parallel.h"
#include "rows.h"

namespace WEFT_NS {

constexpr int64_t CONV_CHANNELS = 256;            // of one task
constexpr int64_t CONV_LONGEST = 16;              // kernel sizes up to this (Python refuses longer ones)

// SIZE: of the kernel, 0 where only the arguments know it.
template <int D, int SIZE> static void conv_part(const ConvArgs& a, int64_t seq, int64_t first, int64_t channels) {
    typedef typename Float<D>::T T;
    const int64_t size = SIZE ? SIZE : a.size, before = size - 1, start = a.starts[seq], count = a.starts[seq + 1] - start;
    const T* x = (const T*)a.x + start * a.x_stride + first;
    T *out = (T*)a.out + start * a.out_stride + first, *state = (T*)a.states + a.state_ids[seq] * before * a.channels + first;
    // Row t of the sequence as this chunk knows it: negative ones lie in the state.
    auto row = [&](int64_t t) { return t < 0 ? state + (before + t) * a.channels : x + t * a.x_stride; };
    for (int64_t t = 0; t < count; t++) {
        const T* rows[CONV_LONGEST];
        for (int64_t k = 0; k < size; k++) rows[k] = row(t - before + k);
        WEFT_FOR_ROW(channels, c, lanes) {
            VF sum = a.bias ? load_up_to<F32>(a.bias + first + c, lanes) : zero();
            for (int64_t k = 0; k < size; k++)
                sum = fma(load_up_to<F32>(a.weight + k * a.channels + first + c, lanes), load_up_to<D>(rows[k] + c, lanes), sum);
            store_up_to<D>(out + t * a.out_stride + c, activate(sum, a.act), lanes);
        }
    }
    // Oldest first: a row is read (from further on in the state) before it is overwritten.
    for (int64_t k = 0; count > 0 && k < before; k++)
        memmove(state + k * a.channels, row(count - before + k), sizeof(T) * (size_t)channels);
}

static void conv(const ConvArgs& a) {
    int64_t parts = (a.channels + CONV_CHANNELS - 1) / CONV_CHANNELS;
    parallel_for(a.seqs * parts, 1, [&](int64_t task) {
        int64_t first = task % parts * CONV_CHANNELS, left = a.channels - first;
        int64_t channels = left < CONV_CHANNELS ? left : CONV_CHANNELS;
        WEFT_BY_DTYPE(a.dtype, (a.size == 4 ? conv_part<D, 4> : conv_part<D, 0>)(a, task / parts, first, channels))
    });
}

}  // namespace WEFT_NS
