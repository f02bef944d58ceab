"""`--config FILE.yaml`: options from a YAML file. The command line wins over the file. Knows no option by name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weft.cli.parser import Parser
from weft.errors import ConfigError, did_you_mean


def with_config_file(argv: Sequence[str], parser: Parser) -> list[str]:
    """The arguments without `--config`, after the options of the file.

    The command line wins over an entry with the same option; objects are merged. ConfigError names file and key.
    """
    rest, paths = _without_config(argv, "--print-config" in parser.flags())
    if not paths and "--print-config" in rest:
        return rest
    if not paths or "--config" not in parser.flags():
        return list(argv)
    given = {argument.partition("=")[0].replace("--no-", "--", 1) for argument in rest if argument.startswith("--")}
    front: list[str] = []
    for path in paths:
        for key, value in _read(path).items():
            flag = "--" + str(key).replace("_", "-")
            if flag not in parser.flags() or flag == "--config":
                raise ConfigError(str(key), value, expected=f"an option of `{parser.prog}`", source=path,
                                  hint=did_you_mean(flag[2:], (known[2:] for known in parser.flags())))
            if flag not in given or isinstance(value, dict):      # objects are merged, key by key
                front += _as_arguments(flag, value, parser)
    return [*front, *rest]


def _without_config(argv: Sequence[str], may_be_bare: bool) -> tuple[list[str], list[str]]:
    """(the other arguments, the files). may_be_bare: a `--config` without a YAML file after it means `--print-config`.
    """
    rest, paths, waiting = [], [], False
    for argument, following in zip(argv, [*argv, ""][1:], strict=True):
        if waiting:
            paths.append(argument)
            waiting = False
        elif argument == "--config" and may_be_bare and not following.endswith((".yaml", ".yml")):
            rest.append("--print-config")
        elif argument == "--config":
            waiting = True
        elif argument.startswith("--config="):
            paths.append(argument.partition("=")[2])
        else:
            rest.append(argument)
    return rest, paths


def _read(path: str) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError("--config", path, expected="a YAML file of options", hint=f"It cannot be read: {reason}") \
            from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError("--config", path, expected="a YAML file with one `option: value` a line")
    return content


def _as_arguments(flag: str, value: Any, parser: Parser) -> list[str]:
    if value is None:
        return []
    if isinstance(value, bool) and not parser.takes(flag):
        return parser.switch(flag, value)
    if isinstance(value, list) and not any(isinstance(v, dict | list) for v in value):
        return [flag, *map(str, value)] if value else []
    return [flag, json.dumps(value) if isinstance(value, dict | list | bool) else str(value)]
