"""What hybrid models with Mamba 2 share: the keys of Bamba's configs, which others took over, and tensor names."""

from __future__ import annotations

import math

from weft.architectures import keys
from weft.architectures.names import ChannelKernels, Flattened, NegatedExp, Rule
from weft.architectures.reader import ConfigReader
from weft.architectures.spec import Mamba2Spec


def mamba2_rules(source: str, mixer: str = "blocks.{i}.mixer.") -> dict[str, str | Rule]:
    """Rules for the tensors of a Mamba 2 mixer. source: what comes before their names; mixer: before the homes'."""
    conv = Rule(source + "conv1d", (mixer + "conv",), ChannelKernels())
    return {source + "conv1d": conv} | {source + name: mixer + home for name, home in (
        ("in_proj", "in"), ("dt_bias", "dt.bias"), ("A_log", "a_log"), ("D", "d"), ("norm", "norm"), ("out_proj", "o"))}


def mamba_gguf(mixer: str = "blocks.{i}.mixer.", *, by_head: bool = True) -> dict[str, str | Rule]:
    """The same in GGUF files. by_head: Mamba 2, else Mamba 1."""
    def rule(name: str, home: str, layout: ChannelKernels | Flattened | NegatedExp) -> dict[str, Rule]:
        return {f"blk.{{i}}.{name}": Rule(f"blk.{{i}}.{name}", (mixer + home,), layout)}

    return {
        "blk.{i}.ssm_in": mixer + "in", "blk.{i}.ssm_dt": mixer + "dt", "blk.{i}.ssm_out": mixer + "o",
        **rule("ssm_conv1d", "conv", ChannelKernels()), **rule("ssm_d", "d", Flattened()),
        **rule("ssm_a", "a_log", NegatedExp(is_vector=by_head)),
        **(rule("ssm_norm", "norm", Flattened()) if by_head else {"blk.{i}.ssm_x": mixer + "dt_b_c"}),
    }


def bamba_mixer(c: ConfigReader, *, eps: float, width: int | None = None) -> Mamba2Spec:
    """The Mamba 2 mixer of Bamba's keys.

    eps: of its norm. width: number of channels; None: the expanded hidden size.
    """
    expanded = keys.hidden_size(c) * c.positive("mamba_expand", default=2)
    width = width or expanded
    heads = c.positive("mamba_n_heads", default=128)
    if c.value("mamba_d_head") == "auto":
        c.expect("mamba_d_head", "auto")
    size = max(1, width // heads)
    size = size if c.value("mamba_d_head") == "auto" else c.positive("mamba_d_head", default=size)
    if heads * size != width:
        raise c.error("mamba_n_heads", heads, f"{width} channels / mamba_d_head = {size}")
    c.harmless("mamba_chunk_size")
    return with_groups(c, "mamba_n_groups", Mamba2Spec(
        num_heads=heads, head_dim=size, num_groups=c.positive("mamba_n_groups", default=1),
        state_size=c.positive("mamba_d_state", default=256), conv_size=c.positive("mamba_d_conv", default=4),
        norm_eps=eps, act=keys.activation(c), bias=c.bool("mamba_proj_bias", default=False),
        conv_bias=c.bool("mamba_conv_bias", default=True), dt_limits=step_limits(c)))


def with_groups(c: ConfigReader, key: str, mixer: Mamba2Spec) -> Mamba2Spec:
    """The mixer, whose heads form equal groups. ConfigError under `key` if they do not."""
    if mixer.num_heads % mixer.num_groups:
        raise c.error(key, mixer.num_groups, f"a divisor of {mixer.num_heads} heads")
    return mixer


def step_limits(c: ConfigReader) -> tuple[float, float]:
    """`time_step_limit`, two numbers. The second may be infinite, which Transformers writes as a JSON object."""
    limits = [math.inf if x == {"__float__": "Infinity"} else x
              for x in c.list("time_step_limit", default=(0.0, math.inf))]
    is_numbers = len(limits) == 2 and all(isinstance(x, int | float) and not isinstance(x, bool) for x in limits)
    if not is_numbers or not 0 <= limits[0] <= limits[1]:
        raise c.error("time_step_limit", limits, "two numbers, the first at least 0 and at most the second")
    return float(limits[0]), float(limits[1])
