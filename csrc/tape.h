// A tape records kernel calls, so that one call from Python repeats them all (graph capture and replay).
//
// While a tape records on a thread, each binding runs its kernel and keeps the call with its arguments. Pointers are
// kept as they are: the caller keeps the pointed-to buffers alive and refills them before each replay.
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

// Runs a kernel call, and keeps it if a tape records on this thread.
template <class Call> static inline void run_kernel(Call call) {
    call();
    if (recording_tape) recording_tape->calls.emplace_back(std::move(call));
}
