// The short causal convolution along a sequence, channel by channel: y[t] = act(bias + sum_k w[k] * x[t - K + 1 + k]).
// A state is the K - 1 rows of x before a token: a sequence reads the state before its first token, and writes the
// state after its last one.
#pragma once

#include "kernels.h"
#include "parallel.h"
#include "rows.h"

namespace WEFT_NS {

constexpr int64_t CONV_CHANNELS = 256;  // channels of a task

// Channels [first, first + channels) of one sequence. SIZE: the kernel size K, or 0 to take it from the arguments.
template <int D, int SIZE> static void conv_part(const ConvArgs& a, int64_t seq, int64_t first, int64_t channels) {
    typedef typename Float<D>::T T;
    static const T zeros[CONV_CHANNELS] = {};
    const int64_t size = SIZE ? SIZE : a.size, before = size - 1;
    const int64_t start = a.step->starts[seq], count = a.step->starts[seq + 1] - start, read_id = a.step->read_ids[seq];
    const T* x = (const T*)a.x + start * a.x_stride + first;
    const T* source = read_id < 0 ? nullptr : (const T*)a.states + read_id * before * a.channels + first;
    T* out = (T*)a.out + start * a.out_stride + first;
    T* target = (T*)a.states + a.step->write_ids[seq] * before * a.channels + first;
    // Row t of the sequence, counted from the step's first one. Negative rows lie in the state; without one they are
    // zeros.
    auto row = [&](int64_t t) {
        if (t >= 0) return x + t * a.x_stride;
        return source ? source + (before + t) * a.channels : zeros;
    };
    for (int64_t t = 0; t < count; t++) {
        const T* rows[CONV_LONGEST];
        for (int64_t k = 0; k < size; k++) rows[k] = row(t - before + k);
        WEFT_FOR_ROW(channels, c, lanes) {
            VF sum = a.bias ? load_up_to<F32>(a.bias + first + c, lanes) : zero();
            for (int64_t k = 0; k < size; k++)
                sum = fma(load_up_to<F32>(a.weight + k * a.channels + first + c, lanes),
                          load_up_to<D>(rows[k] + c, lanes), sum);
            store_up_to<D>(out + t * a.out_stride + c, activate(sum, a.act), lanes);
        }
    }
    // Oldest first: where the target is the source, a row is read from further on before that place is overwritten.
    for (int64_t k = 0; k < before; k++)
        memmove(target + k * a.channels, row(count - before + k), sizeof(T) * (size_t)channels);
}

static void conv(const ConvArgs& a) {
    int64_t parts = (a.channels + CONV_CHANNELS - 1) / CONV_CHANNELS;
    parallel_for(a.step->num_seqs * parts, 1, [&](int64_t task) {
        int64_t first = task % parts * CONV_CHANNELS, left = a.channels - first;
        int64_t channels = left < CONV_CHANNELS ? left : CONV_CHANNELS;
        WEFT_BY_DTYPE(a.dtype, (a.size == 4 ? conv_part<D, 4> : conv_part<D, 0>)(a, task / parts, first, channels))
    });
}

}  // namespace WEFT_NS
