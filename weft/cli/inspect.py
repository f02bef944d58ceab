"""`weft inspect MODEL`: prints summary, memory plan, description, configuration and kernels without reading weights.

The checks of loading run on the headers of the weight files; where loading would fail, the command ends as it does.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from weft.cache.groups import StateGroup
from weft.cli.options import add_engine_options, engine_args
from weft.cli.parser import Parser
from weft.cli.tables import human_count, print_table
from weft.config.human_bytes import human_bytes
from weft.config.step_limits import with_step_limits

if TYPE_CHECKING:
    from weft.architectures.differences import Difference
    from weft.cli.inspection import Inspection
    from weft.config.engine_args import EngineArgs
    from weft.config.machine import Machine
    from weft.engine.memory.plan import MemoryPlan

_LONGEST_VALUE = 60


def add_arguments(parser: Parser) -> None:
    """Engine options, and the parts to print."""
    parser.usage = "weft inspect [MODEL] [options]"
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--print-config", action="store_true",
                        help="print only each value of the config, and where it comes from; --config without a file "
                        "is the same")
    parser.add_argument("--kernels", action="store_true", help="print only which kernels would run, and why")
    add_engine_options(parser, positional_model=True)


def run(options: argparse.Namespace) -> int:
    """Print the configuration and plan that `weft serve` would have with the same options.

    CheckpointError, after all is printed, where loading the weights would raise it.
    """
    from weft.config.machine import Machine

    if options.print_config:
        return _print_config(with_step_limits(engine_args(options)), Machine.detect(), as_json=options.json)
    from weft.cli import inspection

    found = inspection.inspect_model(with_step_limits(engine_args(options)), Machine.detect())
    if options.json:
        print(json.dumps(inspection.as_json(found), indent=2, default=str))
    else:
        if not options.kernels:
            print_table(("model", ""), list(inspection.summary(found).items()), title=found.config.model.name)
            _print_plan(found)
            _print_layers(found)
            _print_description(inspection.description(found))
            _print_sizes(inspection.sizes(found))
            _print_settings(inspection.settings(found), inspection.unread_keys(found), found.config.model.path)
        _print_kernels(inspection.kernels(found))
    if found.load_error is not None:
        sys.stdout.flush()                       # the report comes last, after the tables
        raise found.load_error
    return 0


def _print_config(args: EngineArgs, machine: Machine, *, as_json: bool) -> int:
    from weft.cli.provenance import provenance
    from weft.resolve.engine_config import resolve_engine_config

    model = resolve_engine_config(args, machine).model
    found = provenance(model)
    if as_json:
        rows = {row.key: {"value": row.value, "source": row.source, "is_used": row.is_used} for row in found.values}
        print(json.dumps({"file": found.file, "values": rows, "error": found.error or None}, indent=2, default=str))
        return 0
    words = {True: "yes", False: "no", None: "?"}
    print_table(("key", "value", "from", "used"),
                [(row.key, _short(row.value), row.source.removeprefix(f"{model.path}/"), words[row.is_used])
                 for row in found.values], title=found.file)
    if found.error:
        print(f"\nThe model cannot be described: {found.error}")
    return 0


def _print_settings(rows: list[tuple[str, Any, str]], unread: dict[str, Any], directory: str) -> None:
    shown = [(name, human_bytes(value) if name.endswith("_bytes") and isinstance(value, int) else _short(value),
              source.removeprefix(f"{directory}/")) for name, value, source in rows]
    print()
    print_table(("setting", "value", "from"), shown, title=directory)
    if unread:
        print()
        print_table(("key", "value"), [(key, _short(value)) for key, value in unread.items()],
                    title="Keys of config.json that weft does not know and does not use")


def _print_description(parts: list[Difference] | None) -> None:
    if parts is None:
        return
    rows = [(part.place, part.kind, ", ".join(f"{name} = {_short(value)}" for name, value in part.values.items())
             or "-") for part in parts]
    print()
    print_table(("part", "kind", "values that are not its defaults"), rows, title="Description")


def _print_layers(found: Inspection) -> None:
    columns = ("layers", "attention", "positions", "feed-forward", "norms", "parameters each", "cache each")
    words = found.model.words()
    cells = [(row.layers, row.attention, row.positions, row.ffn, row.norms, human_count(row.parameters),
              f"{human_bytes(row.state_bytes)}/state" if row.state_bytes else
              f"{human_bytes(row.cache_bytes_per_token)}/token") for row in words.layers]
    print()
    print_table(columns, cells, title=words.title, right=("parameters each", "cache each"))


def _print_sizes(sizes: dict[str, Any]) -> None:
    rows = [("head", sizes["head"]),
            ("cache per token", human_bytes(sizes["kv_bytes_per_token"])),
            ("operations per token", f"{human_count(sizes['flops_per_token'])} flop, attention left out")]
    rows += [(f"  layers {group['layers']}", f"{_rate(group)}, {group['words']}") for group in sizes["cache_groups"]]
    print()
    print_table(("size", "value"), rows, title="Sizes")


def _rate(group: dict[str, Any]) -> str:
    if group["bytes_per_state"] is not None:
        return f"{human_bytes(group['bytes_per_state'])}/state"
    return f"{human_bytes(group['bytes_per_token'])}/token"


def _print_plan(found: Inspection) -> None:
    print()
    if found.plan is None:
        print(f"Memory plan: does not fit. {found.plan_error}")
        return
    plan = found.plan
    rows = [("weights", human_bytes(plan.weight_bytes)), ("activations", human_bytes(plan.activation_bytes)),
            ("cache", f"{human_bytes(plan.kv_cache_bytes)} in {_blocks(plan)}"),
            *([("working memory", human_bytes(plan.scratch_bytes))] if plan.scratch_bytes else []),
            ("total", human_bytes(plan.total_bytes)),
            ("limit", f"{human_bytes(plan.limit_bytes)}: {plan.limit_source}"),
            ("longest sequence", f"{plan.max_model_len} tokens")]
    if plan.num_cache_tokens:
        rows.append(("cached tokens", f"{plan.num_cache_tokens}"))
    print_table(("memory plan", "value"), rows, title="Memory plan")


def _blocks(plan: MemoryPlan) -> str:
    """The numbers of blocks of each token group, and of states, in words."""
    counts = list(zip(plan.num_blocks, plan.groups, strict=True))
    tokens = [str(num) for num, group in counts if not isinstance(group, StateGroup)]
    parts = [f"{' + '.join(tokens)} blocks of {plan.block_size} tokens"] if tokens else []
    parts += [f"{num} states" for num, group in counts if isinstance(group, StateGroup)]
    return " and ".join(parts) or "no blocks"


def _print_kernels(kernels: dict[str, str]) -> None:
    print()
    print_table(("operator", "kernel (why not the ones before it)"), list(kernels.items()), title="Kernels")


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE - 1]}…"
