"""`Purpose`: what a model is run for, and what is made of its states, by its name, its files and the options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from weft.architectures.suffixes import runner_and_convert
from weft.config.engine_config import ModelConfig
from weft.errors import ConfigError
from weft.resolve.hf.pooling import MODULES

_TOKENS = "ForTokenClassification"


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """runner: "generate" or "pooling". convert: what the states become: "none" (as the model itself has it), "embed" or
    "classify". of_tokens: each token is classified, not the prompt."""

    runner: str
    convert: str = "none"
    of_tokens: bool = False

    @property
    def pools(self) -> bool:
        return self.runner == "pooling"


def read_purpose(model: ModelConfig, architecture: str, *, generates: bool, has_head: bool = False,
                 own: str | None = None) -> Purpose:
    """What the options `runner` and `convert` ask for; where they are "auto", what the files say.

    architecture: the name that was chosen of the config's. generates: whether the code behind that name can generate.
    has_head: that code has a head for tokens, whatever the name's end says (MarianMTModel). own: `StackSpec.pools_as`
    of a description.
    ConfigError for a runner that the model is not for.
    """
    default = ("generate", "none") if generates else ("pooling", "embed")
    named = default if has_head else runner_and_convert(architecture) or default
    if not generates:
        named = ("pooling", named[1] if named[1] != "none" else "embed")
    if own is not None:
        named = ("pooling", "classify")
    runner = model.runner if model.runner != "auto" else _runner(model, named[0])
    if runner == "generate":
        return _generating(model, architecture, named)
    convert = model.convert
    if convert == "auto":
        convert = named[1] if named[0] == "pooling" else "embed"
    elif convert == "none" and named[0] == "generate":
        raise ConfigError("convert", "none", expected="auto, embed or classify for a model that generates",
                          hint=f"{architecture} has no pooler of its own.")
    if convert == "none":
        convert = named[1]
    of_tokens = convert == "classify" and (own == "token" or architecture.endswith(_TOKENS))
    return Purpose(runner="pooling", convert=convert, of_tokens=of_tokens)


def _runner(model: ModelConfig, named: str) -> str:
    """The runner that nobody asked for: pooling where the files of sentence-transformers say so, else by the name."""
    if model.convert in ("embed", "classify"):
        return "pooling"
    return "pooling" if (Path(model.path) / MODULES).is_file() else named


def _generating(model: ModelConfig, architecture: str, named: tuple[str, str]) -> Purpose:
    if named[0] != "generate":
        raise ConfigError("runner", "generate", expected="auto or pooling",
                          hint=f"{architecture} is for pooling ({named[1]}); it has no head that generates.")
    if model.convert in ("embed", "classify"):
        raise ConfigError("convert", model.convert, expected="auto or none with runner generate",
                          hint="Give runner=\"pooling\", or leave it out.")
    return Purpose(runner="generate")
