// Bindings of memory nodes (NUMA): making them, moving a weight's pages to them, and the division of work, for tests.
#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <stdexcept>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings.h"
#include "parallel.h"

namespace nb = nanobind;

namespace {

// list: (the system's number, CPUs) of each node.
void make_nodes(Nodes* nodes, const std::vector<std::pair<int, std::vector<int>>>& list) {
    if (list.empty() || list.size() > MOST_NODES) throw std::invalid_argument("nodes: not 1 to 64 of them");
    new (nodes) Nodes();
    for (const auto& [number, cpus] : list) {
        if (number < 0 || number >= MOST_NODE_NUMBERS || cpus.empty())
            throw std::invalid_argument("a node's number is not in [0, 1024), or it has no CPU");
        int n = nodes->count++;
        nodes->numbers[n] = number;
        nodes->cpus_before[n + 1] = nodes->cpus_before[n] + (int64_t)cpus.size();
        for (int cpu : cpus)
            if (cpu >= 0 && cpu < MOST_CPUS) nodes->of_cpu[cpu] = (uint8_t)n;
    }
}

// Which thread did which piece of parallel_groups: (thread, outer, group, inner), the pieces of a thread in its order.
typedef std::tuple<int, int64_t, int64_t, int64_t> Piece;
std::vector<Piece> division(const Nodes* nodes, int64_t outer, int64_t groups, int64_t inner) {
    std::vector<std::vector<Piece>> of_thread(num_threads());
    parallel_groups(nodes, {outer, groups, inner}, [&](int64_t o, int64_t g, int64_t i) {
        of_thread[thread_index()].push_back({thread_index(), o, g, i});
    });
    std::vector<Piece> all;
    for (const auto& pieces : of_thread) all.insert(all.end(), pieces.begin(), pieces.end());
    return all;
}

}  // namespace

void bind_nodes(nb::module_& m) {
    nb::class_<Nodes>(m, "Nodes").def("__init__", &make_nodes, nb::arg("nodes"));
    m.def("place_panels", [](const Nodes& nodes, uintptr_t data, int64_t bytes, int64_t groups, bool gated) {
        nb::gil_scoped_release unlocked;
        return place_panels(nodes, at<void>(data), bytes, groups, gated);
    });
    m.def("division", &division, nb::arg("nodes").none(), nb::arg("outer"), nb::arg("groups"), nb::arg("inner"));
}
