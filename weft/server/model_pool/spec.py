"""`ModelSpec`: one model that a server may load: its names, its engine's options, and how long it stays loaded.

`model_specs` makes them of the options of `weft serve`: one model, a folder of models (`model_dir`), a list (`models`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from weft.compat.vllm.options.engine import ENGINE
from weft.config.engine_args import EngineArgs
from weft.config.machine import Machine
from weft.config.step_limits import with_step_limits
from weft.errors import ConfigError, did_you_mean
from weft.extend.plugins import GROUPS, installed
from weft.resolve.files import EMBEDDED_NAME
from weft.server.admission import with_queue_limits
from weft.server.model_pool.catalog import models_in_file, models_in_folder
from weft.server.model_pool.keep_alive import FOREVER, read_keep_alive
from weft.server.options import ServerOptions
from weft.text.parsing.parsers import check_parser_names

# Options of the server that each model may have for itself, and options of the engine that hold for all models.
_OWN = ("response_role", "chat_template_content_format", "default_chat_template_kwargs", "tool_call_parser",
        "exclude_tools_when_tool_choice_none")
_COMMON = ("plugins", "vllm_version", "vllm_modules", "served_model_name")
_DEFAULT_KEEP_ALIVE = 300.0      # seconds; Ollama's


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model that the server may load.

    names: clients' names of the model, the first is its own. options: the server's, with this model's own.
    keep_alive: seconds without requests until the model is unloaded.
    loads_at_start: the model is loaded before the server listens. is_resident: it stays, whatever requests ask for.
    """

    names: tuple[str, ...]
    args: EngineArgs
    options: ServerOptions
    keep_alive: float = FOREVER
    loads_at_start: bool = False
    is_resident: bool = False

    @property
    def name(self) -> str:
        """The model's own name."""
        return self.names[0]

    def check_parsers(self) -> None:
        """ConfigError if nobody has registered a parser that the options name."""
        check_parser_names(tools=self.options.tool_call_parser, reasoning=self.args.reasoning_parser)


def model_specs(args: EngineArgs, options: ServerOptions, machine: Machine) -> list[ModelSpec]:
    """The models of a server. args: the engine's options for all of them. ConfigError names a wrong entry.

    Where plugins are installed, which may register parsers, names of parsers are checked after these have run
    (`ModelPool`).
    """
    if options.model_dir is None and options.models is None:
        return [_only(args, options, machine)]
    for name, value in (("model", args.model), ("served_model_name", args.served_model_name)):
        if value:
            raise ConfigError(name, value, expected="none beside model_dir and models, which name all models")
    if options.model_dir is not None and options.models is not None:
        raise ConfigError("models", options.models, expected="none beside model_dir")
    entries = ([{"name": name, "model": path} for name, path in models_in_folder(options.model_dir).items()]
               if options.model_dir is not None else models_in_file(str(options.models)))
    specs = [_spec(entry, f"models[{i}]", args, options, machine) for i, entry in enumerate(entries)]
    _refuse_same_names(specs)
    return specs


def _only(args: EngineArgs, options: ServerOptions, machine: Machine) -> ModelSpec:
    keep_alive = FOREVER if options.keep_alive is None else read_keep_alive(options.keep_alive)
    return _checked(ModelSpec(names=args.served_model_name or (args.model or EMBEDDED_NAME,), options=options,
                              args=_limited(args, machine), keep_alive=keep_alive, loads_at_start=True,
                              is_resident=keep_alive == FOREVER))


def _spec(entry: Mapping[str, Any], place: str, args: EngineArgs, options: ServerOptions,
          machine: Machine) -> ModelSpec:
    given = {str(name).replace("-", "_"): value for name, value in entry.items()}
    name, aliases = given.pop("name"), given.pop("aliases", [])
    keep_alive, preload = given.pop("keep_alive", options.keep_alive), given.pop("preload", False)
    try:
        if not isinstance(aliases, list) or not all(isinstance(alias, str) and alias for alias in aliases):
            raise ConfigError("aliases", aliases, expected="a list of names")
        if not isinstance(preload, bool):
            raise ConfigError("preload", preload, expected="true or false")
        seconds = _DEFAULT_KEEP_ALIVE if keep_alive is None else read_keep_alive(keep_alive)
        for common in _COMMON:
            if common in given:
                raise ConfigError(common, given[common], expected="no option of one model of several",
                                  hint="Use aliases for more names." if common == "served_model_name" else
                                  "Give it to weft serve, for all models.")
        own = {field: given.pop(field) for field in _OWN if field in given}
        names = (name, *aliases)
        return _checked(ModelSpec(names=names, options=replace(options, **own), keep_alive=seconds,
                                  loads_at_start=preload, args=_limited(_args(args, given, names), machine)))
    except ConfigError as error:
        raise type(error)(f"{place} ({name}).{error.field}", error.value, expected=error.expected,
                          hint=error.hint, source=error.source) from error


def _checked(spec: ModelSpec) -> ModelSpec:
    if (spec.options.tool_call_parser or spec.args.reasoning_parser) and not installed(*GROUPS):
        spec.check_parsers()
    return spec


def _args(args: EngineArgs, given: dict[str, Any], names: tuple[str, ...]) -> EngineArgs:
    try:
        return replace(args, **given, served_model_name=names)
    except TypeError as error:      # of a name that is no option
        known = {f.name for f in fields(EngineArgs)} | {*_OWN, "keep_alive", "aliases", "preload"}
        wrong = next((option for option in given if option not in known | ENGINE.keys()), "?")
        raise ConfigError(wrong, given.get(wrong), expected="an option of a model",
                          hint=did_you_mean(wrong, known)) from error


def _limited(args: EngineArgs, machine: Machine) -> EngineArgs:
    return with_queue_limits(with_step_limits(args), machine)


def _refuse_same_names(specs: list[ModelSpec]) -> None:
    seen: set[str] = set()
    for spec in specs:
        for name in spec.names:
            if name in seen:
                raise ConfigError("models", name, expected="a name that one model has")
            seen.add(name)
