// The functions that bind the kernels to Python, one for each bind_*.cpp; module.cpp calls them.
#pragma once

#include <nanobind/nanobind.h>

#include <stdexcept>
#include <string>

#include "kernels.h"
#include "tape.h"

template <class T> static inline T* at(uintptr_t address) { return reinterpret_cast<T*>(address); }

// Throws std::out_of_range (Python: IndexError) for the first id that is no row.
static inline void check_ids(const int64_t* ids, int64_t count, int64_t rows) {
    for (int64_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= rows)
            throw std::out_of_range("ids[" + std::to_string(i) + "] = " + std::to_string(ids[i]) + ": expected below " +
                                    std::to_string(rows) + ", the rows of the table");
}

void bind_linear(nanobind::module_& m, nanobind::class_<Kernels>& kernels);
void bind_act(nanobind::module_& m, nanobind::class_<Kernels>& kernels);
void bind_moe(nanobind::module_& m, nanobind::class_<Kernels>& kernels);
void bind_scan(nanobind::module_& m, nanobind::class_<Kernels>& kernels);
void bind_sampling(nanobind::module_& m, nanobind::class_<Kernels>& kernels);
void bind_limits(nanobind::module_& m);
void bind_nodes(nanobind::module_& m);
void bind_norm(nanobind::module_& m, nanobind::class_<Kernels>& kernels);
void bind_attention(nanobind::module_& m, nanobind::class_<Kernels>& kernels);
