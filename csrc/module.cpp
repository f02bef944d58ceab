// The Python module `weft._native`: the table of kernels of each ISA level. Bindings take addresses as integers;
// weft/ops checks the tensors before.
#include <nanobind/stl/string.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <stdexcept>
#include <string>

#include "bindings.h"
#include "parallel.h"

namespace nb = nanobind;

namespace {

#if defined(WEFT_X86)
// Asks Linux for the registers of AMX tiles, which a process must request. Source: Documentation/arch/x86/xstate.rst.
void request_tiles() {
#if defined(__linux__)
    constexpr long REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;
    if (syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) != 0)
        throw std::runtime_error("the kernel does not let this process use AMX tiles; use cpu_isa = avx512_bf16");
#endif
}
#endif

// The kernels of a level. Throws std::invalid_argument for a level that this binary was not built with.
const Kernels* find(const std::string& level) {
    if (level == "portable") return kernels_portable();
#if defined(WEFT_X86)
    if (level == "avx2") return kernels_avx2();
    if (level == "avx_vnni") return kernels_avx_vnni();
    if (level == "avx512") return kernels_avx512();
    if (level == "avx512_bf16") return kernels_avx512_bf16();
    if (level == "amx") {
        request_tiles();
        return kernels_amx();
    }
#endif
#if defined(WEFT_ARM)
    if (level == "neon") return kernels_neon();
    if (level == "neon_i8mm") return kernels_neon_i8mm();
#endif
#if defined(WEFT_EMULATED_TILES)
    if (level == "amx_emulated") return kernels_amx_emulated();
#endif
    throw std::invalid_argument("this build has no kernels for " + level);
}

}  // namespace

NB_MODULE(_native, m) {
    nb::set_leak_warnings(false);  // Python keeps tables of kernels until the process ends

    auto kernels = nb::class_<Kernels>(m, "Kernels").def_prop_ro("name", [](const Kernels& k) {
        return std::string(k.name);
    });
    kernels.def_ro("multiplies_bfloat16", &Kernels::multiplies_bfloat16);
    nb::class_<Tape>(m, "Tape").def(nb::init<>()).def("__len__", [](const Tape& tape) { return tape.calls.size(); });
    m.def("record", [](Tape* tape) { recording_tape = tape; }, nb::arg("tape").none());
    kernels.def("replay", [](const Kernels&, const Tape& tape) {
        nb::gil_scoped_release unlocked;
        tape.replay();
    });
    bind_limits(m);
    bind_linear(m, kernels);
    bind_moe(m, kernels);
    bind_nodes(m);
    bind_norm(m, kernels);
    bind_attention(m, kernels);
    bind_act(m, kernels);
    bind_sampling(m, kernels);
    bind_scan(m, kernels);
    m.def("kernels", &find, nb::rv_policy::reference);
}
