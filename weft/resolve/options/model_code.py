"""Where a programmed model's code is: the options `model_file` and `model_class`."""

from __future__ import annotations

from typing import Any

from weft.config.engine_args import EngineArgs
from weft.errors import ConfigError
from weft.extend.named_object import portable, split_name
from weft.resolve.files import find_model_file


def model_code(args: EngineArgs) -> dict[str, Any]:
    """The fields model_file or model_class of a ModelConfig: the place of a programmed model's code; {} for none."""
    if args.model_file is not None and args.model_class is not None:
        raise ConfigError("model_class", args.model_class, expected="not to be set beside model_file",
                          hint=f"model_file is {args.model_file}: give FILE.py:Class as one of the two.")
    if args.model_class is not None:
        is_named = isinstance(args.model_class, str)
        return {"model_class": args.model_class if is_named else portable(args.model_class)}
    if args.model_file is None:
        return {}
    path, name = split_name(args.model_file)
    found = str(find_model_file(path))
    return {"model_file": found} if name is None else {"model_class": f"{found}:{name}"}
