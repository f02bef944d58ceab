// The functions that bind the kernels to Python, one for each bind_*.cpp; module.cpp calls them.
#pragma once

#include <nanobind/nanobind.h>

#include "kernels.h"
#include "tape.h"

template <class T> static inline T* at(uintptr_t address) { return reinterpret_cast<T*>(address); }

void bind_linear(nanobind::module_& m, nanobind::class_<Kernels>& kernels);
void bind_act(nanobind::module_& m, nanobind::class_<Kernels>& kernels);
void bind_moe(nanobind::module_& m, nanobind::class_<Kernels>& kernels);
void bind_scan(nanobind::module_& m, nanobind::class_<Kernels>& kernels);
void bind_sampling(nanobind::module_& m, nanobind::class_<Kernels>& kernels);
void bind_limits(nanobind::module_& m);
void bind_nodes(nanobind::module_& m);
void bind_norm(nanobind::module_& m, nanobind::class_<Kernels>& kernels);
void bind_attention(nanobind::module_& m, nanobind::class_<Kernels>& kernels);
