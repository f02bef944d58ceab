// Bindings of the paged KV cache: writing a step's keys and values, attention over the cache.
#include <stdexcept>
#include <string>

#include "bindings.h"

namespace nb = nanobind;

namespace {

// Builds with WEFT_CHECKS raise for a slot or block id that lies outside the cache; other builds do not look.
void check_slots([[maybe_unused]] const KvCache& cache, [[maybe_unused]] const int64_t* slots,
                 [[maybe_unused]] int64_t num_tokens) {
#if defined(WEFT_CHECKS)
    for (int64_t t = 0; t < num_tokens; t++)
        if (slots[t] < 0 || slots[t] >= cache.num_blocks * KV_BLOCK)
            throw std::out_of_range("slot_mapping[" + std::to_string(t) + "] = " + std::to_string(slots[t]) +
                                    ": expected 0 to " + std::to_string(cache.num_blocks * KV_BLOCK - 1));
#endif
}
void check_table([[maybe_unused]] const KvCache& cache, [[maybe_unused]] const AttentionStep& s) {
#if defined(WEFT_CHECKS)
    for (int64_t i = 0, token = 0; i < s.num_seqs; token += s.query_lens[i], i++) {
        int64_t seen = s.seq_lens[i] - s.query_lens[i] + 1, begin = s.window && seen > s.window ? seen - s.window : 0;
        int64_t end = s.seq_lens[i];
        if (s.first_keys) {
            begin = end, end = 0;
            for (int64_t t = token; t < token + s.query_lens[i]; t++) {
                if (s.first_keys[t] >= s.end_keys[t]) continue;
                if (s.first_keys[t] < begin) begin = s.first_keys[t];
                if (s.end_keys[t] > end) end = s.end_keys[t];
            }
        }
        if (s.seq_lens[i] > s.table_width * KV_BLOCK)
            throw std::out_of_range("seq_lens[" + std::to_string(i) + "] = " + std::to_string(s.seq_lens[i]) +
                                    ": the block table holds " + std::to_string(s.table_width * KV_BLOCK) + " tokens");
        for (int64_t b = begin / KV_BLOCK; b * KV_BLOCK < end; b++) {
            int32_t id = s.block_table[i * s.table_width + b];
            if (id < 0 || id >= cache.num_blocks)
                throw std::out_of_range("block_table[" + std::to_string(i) + ", " + std::to_string(b) + "] = " +
                                        std::to_string(id) + ": expected 0 to " + std::to_string(cache.num_blocks - 1));
        }
    }
#endif
}

AttentionStep step(int64_t num_tokens, int64_t num_seqs, int64_t num_slots, uintptr_t slots, uintptr_t query_lens,
                   uintptr_t seq_lens, uintptr_t block_table, int64_t table_width, int64_t window, uintptr_t first_keys,
                   uintptr_t end_keys, int64_t num_groups, uintptr_t group_starts, uintptr_t group_members,
                   uintptr_t group_spans, uintptr_t shared_spans) {
    return {num_tokens,
            num_seqs,
            num_slots,
            at<int64_t>(slots),
            at<int32_t>(query_lens),
            at<int32_t>(seq_lens),
            at<int32_t>(block_table),
            table_width,
            window,
            at<int32_t>(first_keys),
            at<int32_t>(end_keys),
            num_groups,
            at<int32_t>(group_starts),
            at<int32_t>(group_members),
            at<int32_t>(group_spans),
            at<int32_t>(shared_spans)};
}

KvCache cache(uintptr_t k, uintptr_t v, int kind, int64_t num_blocks, int64_t kv_heads, int64_t head_dim,
              int64_t value_dim) {
    return {at<void>(k), at<void>(v), kind, num_blocks, kv_heads, head_dim, value_dim ? value_dim : head_dim};
}

}  // namespace

void bind_attention(nb::module_& m, nb::class_<Kernels>& kernels) {
#if defined(WEFT_CHECKS)
    m.attr("checks") = true;
#else
    m.attr("checks") = false;
#endif
    nb::class_<AttentionStep>(m, "AttentionStep").def("assign", [](AttentionStep& s, const AttentionStep& other) {
        s = other;
    });
    nb::class_<KvCache>(m, "KvCache");
    m.def("attention_step", &step, nb::arg("num_tokens"), nb::arg("num_seqs"), nb::arg("num_slots"), nb::arg("slots"),
          nb::arg("query_lens"), nb::arg("seq_lens"), nb::arg("block_table"), nb::arg("table_width"), nb::arg("window"),
          nb::arg("first_keys"), nb::arg("end_keys"), nb::arg("num_groups") = 0, nb::arg("group_starts") = 0,
          nb::arg("group_members") = 0, nb::arg("group_spans") = 0, nb::arg("shared_spans") = 0);
    m.def("kv_cache", &cache, nb::arg("k"), nb::arg("v"), nb::arg("kind"), nb::arg("num_blocks"), nb::arg("kv_heads"),
          nb::arg("head_dim"), nb::arg("value_dim") = 0);
    kernels
        .def("write_cache",
             [](const Kernels& kernels, const KvCache& cache, const AttentionStep& s, uintptr_t k, uintptr_t v,
                int dtype, int64_t k_stride, int64_t v_stride) {
        nb::gil_scoped_release unlocked;
        run_kernel([=, write_cache = kernels.write_cache, &s] {
            check_slots(cache, s.slots, s.num_slots);
            write_cache({cache, s.slots, s.num_slots, at<void>(k), at<void>(v), dtype, k_stride, v_stride});
        });
    })
        .def("attention",
             [](const Kernels& kernels, const AttentionStep& s, const KvCache& cache, uintptr_t q, int dtype,
                int64_t q_stride, int64_t heads, float scale, float softcap, uintptr_t slopes, float alibi_scale,
                bool alibi_bf16, uintptr_t bias_by_distance, int64_t farthest, uintptr_t sinks, uintptr_t out) {
        nb::gil_scoped_release unlocked;
        run_kernel([=, attention = kernels.attention, &s] {
            check_table(cache, s);
            attention({&s, cache, at<void>(q), dtype, q_stride, heads, scale, softcap, at<float>(slopes), alibi_scale,
                       alibi_bf16, at<float>(bias_by_distance), farthest, at<float>(sinks), at<void>(out)});
        });
    });
}
