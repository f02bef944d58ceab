"""`ConfigReader`: typed reading of a model's config, remembering what was read and where each value came from.

A model never runs with a setting silently ignored: keys that nothing read are reported by `unread()`. Knows no torch
and no architecture; `architectures/*.py` call it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from weft.errors import ConfigError

_REQUIRED: Any = object()

# Keys that never change the numbers of a forward pass, in any family.
HARMLESS = frozenset("""
    _name_or_path _attn_implementation _attn_implementation_internal _commit_hash architectures attn_implementation
    auto_map bos_token_id eos_token_id pad_token_id sep_token_id cls_token_id unk_token_id decoder_start_token_id
    dtype torch_dtype model_type transformers_version use_cache gradient_checkpointing initializer_range
    initializer_factor id2label label2id num_labels problem_type finetuning_task task_specific_params
    output_attentions output_hidden_states return_dict return_dict_in_generate is_decoder is_encoder_decoder
    add_cross_attention cross_attention_hidden_size chunk_size_feed_forward pruned_heads tie_encoder_decoder
    torchscript use_bfloat16 tf_legacy_loss tokenizer_class prefix attention_dropout attn_dropout attn_pdrop
    embd_pdrop resid_pdrop hidden_dropout hidden_dropout_prob dropout activation_dropout embedding_dropout
    embd_dropout classifier_dropout summary_type summary_use_proj summary_activation summary_first_dropout
    summary_proj_to_labels layerdrop router_aux_loss_coef router_z_loss_coef output_router_logits router_jitter_noise
    pretraining_tp unsloth_version unsloth_fixed cache_implementation max_length min_length do_sample early_stopping
    num_beams num_beam_groups diversity_penalty temperature top_k top_p typical_p repetition_penalty length_penalty
    no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids num_return_sequences output_scores
    forced_bos_token_id forced_eos_token_id remove_invalid_values exponential_decay_length_penalty suppress_tokens
    begin_suppress_tokens
    max_seq_len seq_length model_max_length max_target_positions max_sequence_length max_seq_length seq_len
    quantization_config compression_config
""".split())    # the last lines: lengths, which resolve/max_len.py reads, and what resolve/quantization.py reads


class ConfigReader:
    """Reads one (possibly nested) config dictionary.

    values: the normalised config. source: the file it came from, for messages. path: where it lies in it, "" or
    "rope_parameters.". origins: {key: source} of values that are not the file's.
    """

    def __init__(self, values: Mapping[str, Any], *, source: str = "config.json", path: str = "",
                 origins: Mapping[str, str] | None = None) -> None:
        self._values, self._source, self._path = values, source, path
        self._origins = dict(origins or {})
        self._read: dict[str, tuple[Any, str]] = {}
        self._subs: dict[str, ConfigReader] = {}

    # Typed access. Each takes a name, or several spellings of which the first present counts.

    def int(self, *names: str, default: Any = _REQUIRED) -> Any:
        """A whole number (or the default as it is)."""
        return self._typed(names, default, "an integer", lambda v: isinstance(v, int) and not isinstance(v, bool))

    def positive(self, *names: str, default: Any = _REQUIRED) -> Any:
        """A whole number of at least 1: a size or a count."""
        return self._typed(names, default, "an integer of at least 1",
                           lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 1)

    def float(self, *names: str, default: Any = _REQUIRED) -> Any:
        """A finite number, as a float."""
        value = self._typed(names, default, "a finite number", lambda v: isinstance(v, int | float)
                            and not isinstance(v, bool) and abs(v) <= sys.float_info.max)
        return float(value) if value is not None else None

    def bool(self, *names: str, default: Any = _REQUIRED) -> Any:
        """True or false."""
        return self._typed(names, default, "true or false", lambda v: isinstance(v, bool))

    def str(self, *names: str, default: Any = _REQUIRED) -> Any:
        """A string."""
        return self._typed(names, default, "a string", lambda v: isinstance(v, str))

    def list(self, *names: str, default: Any = _REQUIRED) -> Any:
        """A list, as it is."""
        return self._typed(names, default, "a list", lambda v: isinstance(v, list | tuple))

    def dict(self, *names: str, default: Any = _REQUIRED) -> Any:
        """A dictionary, as it is."""
        return self._typed(names, default, "an object", lambda v: isinstance(v, Mapping))

    def choice(self, *names: str, allowed: Iterable[str], default: Any = _REQUIRED) -> Any:
        """A string out of a set."""
        value = self.str(*names, default=default)
        if value is not None and value not in allowed:
            raise self.error(names[0], value, f"one of {', '.join(sorted(allowed))}")
        return value

    def expect(self, name: str, *allowed: Any, default: Any = _REQUIRED) -> Any:
        """A value that must be one of `allowed`: others would change the numbers and are not built."""
        value = self._get((name,), allowed[0] if default is _REQUIRED else default)
        if value not in allowed:
            raise self.error(name, value, " or ".join(repr(a) for a in allowed))
        return value

    def has(self, name: str) -> bool:
        """True when the key is there and not null."""
        return self._values.get(name) is not None

    def is_given(self, name: str) -> bool:
        """True when the key is there, be it null: then the family's default does not count."""
        return name in self._values

    def harmless(self, *names: str) -> None:
        """Declare keys that do not change the numbers of this family."""
        for name in names:
            if name in self._values:
                self._remember(name, self._values[name], "not needed")

    def sub(self, name: str) -> ConfigReader:
        """A reader of a nested config, the same one each time."""
        if name not in self._subs:
            origins = {key.removeprefix(f"{name}."): origin for key, origin in self._origins.items()
                       if key.startswith(f"{name}.")}
            self._subs[name] = ConfigReader(self.dict(name), source=self._source, path=f"{self._path}{name}.",
                                            origins=origins)
        return self._subs[name]

    # Reports

    def error(self, name: str, value: Any, expected: str, hint: str = "") -> ConfigError:
        """A ConfigError that names the key's full path and the file."""
        return ConfigError(self._path + name, value, expected=expected, hint=hint, source=self._source)

    def values_read(self) -> dict[str, tuple[Any, str]]:
        """{path: (value, source)} of all that was read, in the order of reading."""
        out = {self._path + name: entry for name, entry in self._read.items()}
        for sub in self._subs.values():
            out |= sub.values_read()
        return out

    def unread(self) -> dict[str, Any]:
        """Keys that the file has, that are not null or empty, and that nothing read: {path: value}."""
        out = {self._path + k: v for k, v in self._values.items()
               if k not in self._read and k not in HARMLESS and v is not None and v not in ({}, [], "", False)}
        for sub in self._subs.values():
            out |= sub.unread()
        return out

    def _get(self, names: tuple[str, ...], default: Any) -> Any:
        for name in names:
            if self._values.get(name) is not None:
                self._remember(name, self._values[name], self._origins.get(name, self._source))
                for other in names:
                    if other != name and self._values.get(other) is not None:
                        self._remember(other, self._values[other], f"not used: {name} counts")
                return self._values[name]
        if default is _REQUIRED:
            raise self.error(names[0], None, "a value", "The key is missing." if names[0] not in self._values else
                             "The key is null.")
        self._remember(names[0], default, "default of the family")
        return default

    def _typed(self, names: tuple[str, ...], default: Any, expected: str, check: Any) -> Any:
        value = self._get(names, default)
        if value is None and default is None:
            return None
        if not check(value):
            raise self.error(next((n for n in names if n in self._values), names[0]), value, expected)
        return value

    def _remember(self, name: str, value: Any, source: str) -> None:
        self._read.setdefault(name, (value, source))
