"""Which level of native kernels a processor and a cap allow."""

import pytest
from machines import lay_out

from weft.config.fact import Fact
from weft.config.isa import ARCHITECTURES, isa_flags, resolve_isa
from weft.errors import ConfigError

HASWELL = "avx avx2 fma f16c"
SKYLAKE = HASWELL + " avx512f avx512bw avx512vl avx512dq"          # without VNNI
CASCADE_LAKE = SKYLAKE + " avx512_vnni"
ZEN_4 = CASCADE_LAKE + " avx512_bf16 avx512vbmi"
SAPPHIRE_RAPIDS = ZEN_4 + " amx_tile amx_bf16 amx_int8"
ALDER_LAKE = HASWELL + " avx_vnni"
CORTEX_A72 = "asimd"
GRAVITON_2 = CORTEX_A72 + " fphp asimdhp asimddp"
GRAVITON_3 = GRAVITON_2 + " sve bf16 i8mm"


def flags(text):
    return Fact(frozenset(text.split()), "/proc/cpuinfo")


@pytest.mark.parametrize(("text", "level"), [
    ("", "portable"), ("avx", "portable"), ("avx2 fma", "portable"), (HASWELL, "avx2"), (SKYLAKE, "avx2"),
    (CASCADE_LAKE, "avx512"), (ZEN_4, "avx512_bf16"), (ALDER_LAKE, "avx_vnni"),
    (CASCADE_LAKE + " avx_vnni", "avx512"), (ZEN_4 + " avx_vnni", "avx512_bf16"), (SAPPHIRE_RAPIDS, "amx"),
    (CASCADE_LAKE + " amx_tile amx_bf16 amx_int8", "avx512"),          # a level holds all those below it
    (CORTEX_A72, "portable"), (GRAVITON_2, "neon"), (GRAVITON_3, "neon_i8mm"), ("asimd i8mm", "portable"),
])
def test_auto_is_the_highest_level_whose_flags_are_all_there(text, level):
    assert resolve_isa("auto", flags(text)).value == level


@pytest.mark.parametrize(("cap", "processor"), [
    *[(cap, SAPPHIRE_RAPIDS) for cap in ARCHITECTURES["x86-64"]],
    ("avx_vnni", ALDER_LAKE), ("avx2", ALDER_LAKE),
    *[(cap, GRAVITON_3) for cap in ARCHITECTURES["aarch64"]],
])
def test_a_cap_holds_on_a_processor_that_could_do_more(cap, processor):
    assert resolve_isa(cap, flags(processor)) == Fact(cap, "option cpu_isa")


def test_a_level_of_another_architecture_is_out_of_reach():
    with pytest.raises(ConfigError, match=r"reaches: amx or lower\. It lacks asimddp \("):
        resolve_isa("neon", flags(SAPPHIRE_RAPIDS))
    with pytest.raises(ConfigError, match=r"reaches: neon or lower\. It lacks avx2, fma, f16c \("):
        resolve_isa("avx2", flags(GRAVITON_2))


def test_reference_and_portable_need_nothing():
    assert resolve_isa("reference", flags("")).value == "reference"
    assert resolve_isa("portable", flags("")).value == "portable"


def test_a_cap_that_the_processor_does_not_reach_names_what_is_missing():
    with pytest.raises(ConfigError) as error:
        resolve_isa("amx", flags(ZEN_4))

    assert str(error.value) == ("cpu_isa = 'amx': expected a level that this processor reaches: avx512_bf16 or lower. "
                                "It lacks amx_tile, amx_bf16, amx_int8 (/proc/cpuinfo).")


def test_what_lower_levels_lack_is_named_too():
    with pytest.raises(ConfigError, match=r"avx2 or lower\. It lacks avx512_vnni, avx512_bf16, avx512vbmi \("):
        resolve_isa("avx512_bf16", flags(SKYLAKE))


def test_flags_that_kernels_ask_for_are_kept(tmp_path):
    lay_out(tmp_path, {"proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu sse4_2 avx2 avx512f amx_bf16 hypervisor\n"})

    assert isa_flags(tmp_path) == Fact(frozenset({"avx2", "avx512f", "amx_bf16"}), "/proc/cpuinfo")


def test_arm_calls_its_flags_features(tmp_path):
    lay_out(tmp_path, {"proc/cpuinfo": "Features\t: fp asimd asimddp sve i8mm bf16\n"})

    assert isa_flags(tmp_path).value == {"asimd", "asimddp", "sve", "i8mm", "bf16"}


def test_without_cpuinfo_x86_is_assumed_to_have_nothing_and_arm_its_neon(tmp_path, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert isa_flags(tmp_path) == Fact(frozenset(), "no /proc/cpuinfo: none assumed")

    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert isa_flags(tmp_path).value == {"neon"}
