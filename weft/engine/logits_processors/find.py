"""From the option `logits_processors` and installed entry points to the classes of logits processors."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from typing import Any, cast

from weft.compat.vllm.finder import answering
from weft.engine.logits_processors.interface import LogitsProcessor
from weft.errors import ConfigError
from weft.extend.named_object import load_named
from weft.extend.plugins import installed
from weft.extend.user_frame import told_with_place

GROUPS = ("vllm.logits_processors", "weft.logits_processors")
METHODS = ("apply", "is_argmax_invariant", "update_state")

logger = logging.getLogger("weft")


def find_processors(given: Sequence[Any]) -> list[type[LogitsProcessor]]:
    """The classes of the entry points by their names, then those of the option. A class that is there twice is one.

    given: classes, or "module:Class" or "path/file.py:Class". ConfigError for what is no logits processor.
    """
    found: list[type[LogitsProcessor]] = []
    for name, entry in sorted(installed(*GROUPS).items()):
        try:
            with answering():
                found.append(_checked(entry.load()))
        except (Exception, SystemExit) as error:
            raise ConfigError("logits_processors", f"entry point {name}", expected="a logits processor that can be "
                              "imported", hint=told_with_place(error)) from error
        logger.info("logits processor %s of an entry point", name)
    for value in given:
        found.append(_checked(load_named(value, field="logits_processors") if isinstance(value, str) else value))
    return list(dict.fromkeys(found))


def _checked(cls: Any) -> type[LogitsProcessor]:
    missing = [method for method in METHODS if not callable(getattr(cls, method, None))]
    if not inspect.isclass(cls) or missing:
        raise ConfigError("logits_processors", getattr(cls, "__qualname__", cls),
                          expected=f"a class with the methods {', '.join(METHODS)}",
                          hint=f"It lacks {', '.join(missing)}." if inspect.isclass(cls) else
                          "Functions belong to single requests: SamplingParams(logits_processors=[...]).")
    return cast("type[LogitsProcessor]", cls)
