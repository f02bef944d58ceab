// A recording of kernel calls, to be made again by one call from Python.
//
// While a tape records on a thread, each binding's call is run and kept. Arguments are kept as they are: who replays sees to
// it that what they point to is still there, and holds what the kernels are to work on.
#pragma once

#include <functional>
#include <utility>
#include <vector>

struct Tape {
    std::vector<std::function<void()>> calls;

    void replay() const {
        for (const auto& call : calls) call();
    }
};

inline thread_local Tape* recording_tape = nullptr;

// Runs a kernel's call, and keeps it when there is a tape.
template <class Call> static inline void run_kernel(Call call) {
    call();
    if (recording_tape) recording_tape->calls.emplace_back(std::move(call));
}
