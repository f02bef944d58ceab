// Bindings of sampling: draws and reports, compiled for each ISA level, and a request's changes to its row of logits.
// The changes touch few tokens, so one compilation serves all levels; they take Python's lists of token ids.
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "bindings.h"
#include "parallel.h"

namespace nb = nanobind;

namespace {

// The token id as an integer. Throws std::out_of_range (Python: IndexError) for an id outside the vocabulary.
int64_t token(nb::handle id, int64_t vocab) {
    int64_t value = nb::cast<int64_t>(id);
    if (value < 0 || value >= vocab)
        throw std::out_of_range("token id " + std::to_string(value) + ": the vocabulary has " + std::to_string(vocab));
    return value;
}

void forbid(uintptr_t row, int64_t vocab, nb::list ids) {
    for (nb::handle id : ids) at<float>(row)[token(id, vocab)] = -__builtin_inff();
}

void allow_only(uintptr_t row, int64_t vocab, nb::list ids) {
    std::vector<std::pair<int64_t, float>> kept;
    for (nb::handle id : ids) kept.push_back({token(id, vocab), at<float>(row)[token(id, vocab)]});
    for (int64_t i = 0; i < vocab; i++) at<float>(row)[i] = -__builtin_inff();
    for (auto [id, value] : kept) at<float>(row)[id] = value;
}

void add_bias(uintptr_t row, int64_t vocab, nb::dict biases) {
    for (auto [id, bias] : biases) at<float>(row)[token(id, vocab)] += nb::cast<float>(bias);
}

// Penalties for the tokens in `ids`; the first num_prompt ids (the prompt) count for the repetition penalty only.
// counts: [vocab], zeros before and after the call.
void penalise(uintptr_t row_at, int64_t vocab, nb::list ids, int64_t num_prompt, float repetition, float frequency,
              float presence, uintptr_t counts_at) {
    float* row = at<float>(row_at);
    int32_t* counts = at<int32_t>(counts_at);
    std::vector<int64_t> all;
    all.reserve(ids.size());
    for (nb::handle id : ids) all.push_back(token(id, vocab));
    if (repetition != 1) {
        for (int64_t id : all)
            if (counts[id]++ == 0) row[id] = row[id] > 0 ? row[id] / repetition : row[id] * repetition;
        for (int64_t id : all) counts[id] = 0;
    }
    if (frequency == 0 && presence == 0) return;
    for (size_t i = (size_t)num_prompt; i < all.size(); i++) counts[all[i]]++;
    for (size_t i = (size_t)num_prompt; i < all.size(); i++) {
        int64_t id = all[i];
        if (counts[id] == 0) continue;
        row[id] -= frequency * (float)counts[id] + presence;
        counts[id] = 0;
    }
}

}  // namespace

void bind_sampling(nb::module_& m, nb::class_<Kernels>& kernels) {
    m.def("sampling_memory", [](int64_t vocab) { return sampling_memory(vocab) * num_threads(); });
    m.def("forbid", &forbid);
    m.def("allow_only", &allow_only);
    m.def("add_bias", &add_bias);
    m.def("penalise", &penalise);
    kernels
        .def("draw",
             [](const Kernels& k, uintptr_t logits, int64_t rows, int64_t vocab, int64_t stride, uintptr_t temperatures,
                uintptr_t min_ps, uintptr_t top_ps, uintptr_t top_ks, uintptr_t numbers, bool write_back,
                uintptr_t tokens, uintptr_t states, uintptr_t memory) {
        nb::gil_scoped_release unlocked;
        k.draw({at<float>(logits), rows, vocab, stride, at<float>(temperatures), at<float>(min_ps), at<float>(top_ps),
                at<int64_t>(top_ks), at<double>(numbers), write_back, at<int64_t>(tokens), at<uint8_t>(states),
                at<float>(memory)});
    })
        .def("report", [](const Kernels& k, uintptr_t logits, int64_t vocab, int64_t stride, uintptr_t row_ids,
                          int64_t rows, uintptr_t chosen_ids, int64_t num_best, bool as_logits, uintptr_t chosen,
                          uintptr_t ranks, uintptr_t best_ids, uintptr_t best, uintptr_t memory) {
        nb::gil_scoped_release unlocked;
        k.report({at<float>(logits), vocab, stride, at<int64_t>(row_ids), rows, at<int64_t>(chosen_ids), num_best,
                  as_logits, at<float>(chosen), at<int64_t>(ranks), at<int64_t>(best_ids), at<float>(best),
                  at<float>(memory)});
    });
}
