"""`SpeculativeConfig`: the settings of speculative decoding, read from the option `speculative_config`.

The field names are vLLM's. Fields that only matter to methods without code in weft are accepted at the value that means
"off" and refused at any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weft.errors import ConfigError, NotBuiltError, did_you_mean

METHODS = ("ngram",)
UNBUILT_METHODS = ("ngram_gpu", "suffix", "draft_model", "eagle", "eagle3", "medusa", "mlp_speculator", "mtp", "dflash",
                   "dspark", "extract_hidden_states", "custom_class")
MAX_SPECULATIVE_TOKENS = 64    # most draft tokens of one sequence in a step
MAX_LOOKUP = 256               # most tokens in an n-gram
DEFAULT_LOOKUP = 5             # tokens in an n-gram when neither bound is given; vLLM's default

_LIMITS = {"num_speculative_tokens": MAX_SPECULATIVE_TOKENS, "prompt_lookup_max": MAX_LOOKUP,
           "prompt_lookup_min": MAX_LOOKUP}
_NGRAM_NAMES = ("ngram", "[ngram]")      # like vLLM, these are also accepted in the field `model`
_OFF: dict[str, Any] = {
    "draft_tensor_parallel_size": None, "quantization": None, "max_model_len": None, "revision": None,
    "code_revision": None, "enforce_eager": None, "disable_by_batch_size": None, "tensor_parallel_size": None,
    "disable_logprobs": None, "parallel_drafting": False, "disable_padded_drafter_batch": False,
    "use_local_argmax_reduction": False, "rejection_sample_method": "standard", "draft_sample_method": "greedy",
    "draft_load_config": None, "suffix_decoding_max_tree_depth": 24, "suffix_decoding_max_cached_requests": 10000,
    "suffix_decoding_max_spec_factor": 1.0, "suffix_decoding_min_token_prob": 0.1, "speculative_token_tree": None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeculativeConfig:
    """Drafts by n-gram lookup: the tokens that followed an earlier occurrence of the text's last tokens.

    num_speculative_tokens: most draft tokens of one sequence in a step.
    prompt_lookup_min, prompt_lookup_max: shortest and longest n-gram looked up, in tokens; longest first.
    """

    method: str
    num_speculative_tokens: int
    prompt_lookup_min: int
    prompt_lookup_max: int


def read_speculative_config(values: Mapping[str, Any] | None) -> SpeculativeConfig | None:
    """The option `speculative_config` as a SpeculativeConfig; None when it is None or empty (no drafts).

    ConfigError names a field that is unknown, missing or out of range; NotBuiltError a method or field of vLLM that
    weft has no code for.
    """
    if not values:
        return None
    given = {name: value for name, value in values.items() if value is not None}
    _check_names(given)
    method = _method(given)
    if "num_speculative_tokens" not in given:
        raise ConfigError(_path("num_speculative_tokens"), None,
                          expected=f"an integer from 1 to {MAX_SPECULATIVE_TOKENS}", hint="5 is a good start.")
    for name, most in _LIMITS.items():
        value = given.get(name, 1)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise ConfigError(_path(name), value, expected=f"an integer from 1 to {most}")
    shortest = given.get("prompt_lookup_min", given.get("prompt_lookup_max", DEFAULT_LOOKUP))
    longest = given.get("prompt_lookup_max", shortest)
    if shortest > longest:
        raise ConfigError(_path("prompt_lookup_min"), shortest, expected=f"at most prompt_lookup_max = {longest}")
    return SpeculativeConfig(method=method, num_speculative_tokens=given["num_speculative_tokens"],
                             prompt_lookup_min=shortest, prompt_lookup_max=longest)


def _check_names(given: Mapping[str, Any]) -> None:
    known = {"method", "model", *_LIMITS}
    for name, value in given.items():
        if name in known:
            continue
        if name not in _OFF:
            raise ConfigError(_path(name), value, expected=f"one of the fields {', '.join(sorted(known))}",
                              hint=did_you_mean(name, [*known, *_OFF]))
        if type(value) is not type(_OFF[name]) or value != _OFF[name]:
            raise NotBuiltError(_path(name), value, expected=f"{_OFF[name]!r}",
                                hint="It has no meaning for n-gram lookup, the one method that weft has.")


def _method(given: Mapping[str, Any]) -> str:
    """The field `method`, or "ngram" where the field `model` says so."""
    method, model = given.get("method"), given.get("model")
    if method is None and model in _NGRAM_NAMES:
        method = "ngram"
    if method in UNBUILT_METHODS:
        raise NotBuiltError(_path("method"), method, expected=" or ".join(METHODS),
                            hint="weft has no code for it yet; n-gram lookup needs no second model.")
    if method not in METHODS:
        raise ConfigError(_path("method"), method, expected=" or ".join(METHODS))
    if model is not None and model not in _NGRAM_NAMES:
        raise NotBuiltError(_path("model"), model, expected="None: n-gram lookup has no draft model")
    return method


def _path(name: object) -> str:
    return f"speculative_config.{name}"
