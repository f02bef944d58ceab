"""Command-line flags of `EngineArgs` and of vLLM's other options: for the `weft` command and for users' parsers."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import Field, fields
from typing import Any

from weft.compat.vllm.options.engine import ENGINE
from weft.compat.vllm.options.row import Option
from weft.config.flags import MergeAction, add_fields, default_of, json_or_text

SHORT = {"quantization": "-q", "tensor_parallel_size": "-tp", "pipeline_parallel_size": "-pp",
         "data_parallel_size": "-dp", "enable_expert_parallel": "-ep", "speculative_config": "-sc",
         "compilation_config": "-cc", "attention_config": "-ac", "diffusion_config": "-dc", "optimization_level": "-O",
         "nnodes": "-n", "node_rank": "-r", "decode_context_parallel_size": "-dcp",
         "prefill_context_parallel_size": "-pcp", "data_parallel_rank": "-dpn", "data_parallel_start_rank": "-dpr",
         "data_parallel_size_local": "-dpl", "data_parallel_address": "-dpa", "data_parallel_rpc_port": "-dpp",
         "data_parallel_backend": "-dpb", "data_parallel_hybrid_lb": "-dph", "data_parallel_external_lb": "-dpe",
         "data_parallel_multi_port_external_lb": "-dpm"}


def add_option(group: Any, option: Option, *, dest: str, text: str = argparse.SUPPRESS,
               default: Any = argparse.SUPPRESS) -> None:
    """Adds a flag for an option of vLLM to a parser or group. text: its help (none: hidden)."""
    flags = [flag for flag in (SHORT.get(option.name), "--" + option.name.replace("_", "-")) if flag]
    shape: dict[str, Any] = {"action": MergeAction, "type": json_or_text, "metavar": "X"}
    if any(isinstance(off, bool) for off in option.off):
        shape = {"action": argparse.BooleanOptionalAction}
    elif [] in option.off:
        shape |= {"action": "store", "nargs": "+"}
    group.add_argument(*flags, dest=dest, default=default, help=text, **shape)


def add_engine_flags(parser: Any, cls: type) -> None:
    """Adds a flag with its default for each field of `cls`, EngineArgs, and for each other option of vLLM's engine.

    parser: a parser or one of its groups. A flag that it has already stays as it is.
    """
    own: dict[str, Field[Any]] = {f.name: f for f in fields(cls)}
    taken = set(parser._option_string_actions)
    free = [name for name in (*own, *ENGINE) if "--" + name.replace("_", "-") not in taken]
    group = parser.add_argument_group("engine") if isinstance(parser, argparse.ArgumentParser) else parser
    add_fields(group, cls, {name: "" for name in free if name in own},
               {name: flag for name, flag in SHORT.items() if flag not in taken})
    for name in dict.fromkeys(free):
        if name not in own:
            add_option(group, ENGINE[name], dest=name, default=next(iter(ENGINE[name].off), None))
    parser.set_defaults(**{name: default_of(own[name]) for name in free if name in own})


def engine_options(args: argparse.Namespace | Mapping[str, Any], cls: type) -> dict[str, Any]:
    """{option: value} of the attributes that are options of the engine."""
    given = args if isinstance(args, Mapping) else vars(args)
    names = {f.name for f in fields(cls)} | ENGINE.keys()
    return {name: value for name, value in given.items() if name in names}
