"""`ConfigReader`: typed reading of a model's config. It records which keys were read and where each value came from.

No setting of a model is silently ignored: `unread()` reports keys that nothing read. Knows no torch and no
architecture; `architectures/*.py` use it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from weft.architectures.origin import first_file, first_key, is_of_class, is_override
from weft.config.whole_numbers import whole_numbers
from weft.errors import ConfigError

_REQUIRED: Any = object()
_TOO_LARGE = 2**63      # no sensible size is larger, and converting much larger ones to float would overflow
_NOT_NEEDED, _NOT_USED = "not needed", "not used"
_NOT_COUNTED = (_NOT_NEEDED, _NOT_USED)

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
""".split())    # the keys of the last two lines are read by max_len.py and quantization.py of resolve/options/


class ConfigReader:
    """Reads one (possibly nested) config dictionary.

    values: the normalised config. source: the file it came from, for messages. path: its place in the normalised
    config, "" or e.g. "rope_parameters."; given_path: its place in the file, if different. origins: {key: source} of
    values that are not the file's own (`origin.py`).
    """

    def __init__(self, values: Mapping[str, Any], *, source: str = "config.json", path: str = "",
                 origins: Mapping[str, str] | None = None, given_path: str | None = None) -> None:
        self._values, self.source, self.path = values, source, path
        self._given_path = path if given_path is None else given_path
        self._origins = dict(origins or {})
        self._read: dict[str, tuple[Any, str]] = {}
        self._subs: dict[str, ConfigReader] = {}
        self._derived: dict[str, ConfigReader | None] = {}

    # Typed access. Each method takes one or more spellings of a key; the first one present is read.
    # Without a default a missing key is a ConfigError; the default itself is not checked.

    def int(self, *names: str, default: Any = _REQUIRED) -> Any:
        """A whole number; 4.0 counts as one."""
        return self._whole(names, default, "an integer of at most 64 bits", lambda v: isinstance(v, int)
                           and not isinstance(v, bool) and abs(v) < _TOO_LARGE)

    def positive(self, *names: str, default: Any = _REQUIRED) -> Any:
        """A whole number of at least 1, for sizes and counts; 4.0 counts as one."""
        return self._whole(names, default, "an integer of at least 1 and at most 64 bits",
                           lambda v: isinstance(v, int) and not isinstance(v, bool) and 1 <= v < _TOO_LARGE)

    def count(self, *names: str, default: Any = _REQUIRED) -> Any:
        """A whole number of at least 0, for what may be missing; 4.0 counts as one."""
        return self._whole(names, default, "an integer of at least 0 and at most 64 bits",
                           lambda v: isinstance(v, int) and not isinstance(v, bool) and 0 <= v < _TOO_LARGE)

    def float(self, *names: str, default: Any = _REQUIRED) -> Any:
        """A finite number, as a float."""
        value = self._typed(names, default, "a finite number", lambda v: isinstance(v, int | float)
                            and not isinstance(v, bool) and abs(v) <= sys.float_info.max)
        return float(value) if value is not None else None

    def positive_float(self, *names: str, default: Any = _REQUIRED) -> Any:
        """A finite number above 0, as a float, for an epsilon, a base or a divisor."""
        value = self._typed(names, default, "a finite number above 0", lambda v: isinstance(v, int | float)
                            and not isinstance(v, bool) and 0 < v <= sys.float_info.max)
        return float(value) if value is not None else None

    def bool(self, *names: str, default: Any = _REQUIRED) -> Any:
        """True or false."""
        return self._typed(names, default, "true or false", lambda v: isinstance(v, bool))

    def str(self, *names: str, default: Any = _REQUIRED) -> Any:
        """A string."""
        return self._typed(names, default, "a string", lambda v: isinstance(v, str))

    def list(self, *names: str, default: Any = _REQUIRED) -> Any:
        """A list; its entries are not checked."""
        return self._typed(names, default, "a list", lambda v: isinstance(v, list | tuple))

    def dict(self, *names: str, default: Any = _REQUIRED) -> Any:
        """A dictionary; its entries are not checked."""
        return self._typed(names, default, "an object", lambda v: isinstance(v, Mapping))

    def choice(self, *names: str, allowed: Iterable[str], default: Any = _REQUIRED) -> Any:
        """A string that must be one of `allowed`."""
        value = self.str(*names, default=default)
        if value is not None and value not in allowed:
            raise self.error(names[0], value, f"one of {', '.join(sorted(allowed))}")
        return value

    def expect(self, name: str, *allowed: Any, default: Any = _REQUIRED) -> Any:
        """A value that must be one of `allowed`: weft has no code for other values, which would change the output."""
        value = self._get((name,), allowed[0] if default is _REQUIRED else default)
        if value not in allowed:
            raise self.error(name, value, " or ".join(repr(a) for a in allowed))
        return value

    def has(self, name: str) -> bool:
        """True when the key is present and not null."""
        return self._values.get(name) is not None

    def is_given(self, name: str) -> bool:
        """True when the key is present, even as null, so that the family's default must not be used."""
        return name in self._values

    def value(self, name: str) -> Any:
        """The value of a key, unchecked and not counted as read; None when the key is missing."""
        return self._values.get(name)

    def all_values(self) -> Mapping[str, Any]:
        """All values, unchecked and not counted as read."""
        return self._values

    def harmless(self, *names: str) -> None:
        """Declare keys that do not change this family's output, so that `unread` does not report them."""
        for name in names:
            if name in self._values:
                self._remember(name, self._values[name], _NOT_NEEDED)

    def sub(self, name: str) -> ConfigReader:
        """The reader of a nested config; every call returns the same reader."""
        if name not in self._subs:
            self._subs[name] = self._below(name, self.dict(name))
        return self._subs[name]

    def derive(self, name: str, make: Callable[[], tuple[Mapping[str, Any], dict[str, str], tuple[str, ...]] | None],
               ) -> ConfigReader | None:
        """The reader of a config made from several keys; every call returns the same reader, or None if make did.

        make: returns (values, {key: origin} with "" for all values, keys of this reader that the values replace), or
        None when the keys say nothing. Called once.
        """
        if name not in self._derived:
            made = make()
            self._derived[name] = None if made is None else self._below(name, made[0], made[1])
            for key in () if made is None else made[2]:
                if key != name:
                    self._remember(key, self._values[key], f"read as {self.path}{name}")
        return self._derived[name]

    def _below(self, name: str, values: Mapping[str, Any], origins: Mapping[str, str] | None = None) -> ConfigReader:
        prefix = f"{name}."
        added = {prefix + key if key else name: origin for key, origin in (origins or {}).items()}
        all_origins = self._origins | added
        own = {key.removeprefix(prefix): origin for key, origin in all_origins.items() if key.startswith(prefix)}
        given_name = first_key(all_origins.get(name)) or f"{self._given_path}{name}"
        return ConfigReader(values, source=self.source, path=self.path + prefix, origins=own,
                            given_path=f"{given_name}.")

    # Reports

    def error(self, name: str, value: Any, expected: str, hint: str = "") -> ConfigError:
        """A ConfigError that names the file, and the key's full path as the file spells it."""
        origin = self._origins.get(name)
        source = "hf_overrides" if is_override(origin) else first_file(origin) or self.source
        return ConfigError(first_key(origin) or self._given_path + name, value, expected=expected, hint=hint,
                           source=source)

    def is_used(self, path: str) -> bool:
        """Whether the value at a dotted key was used: not if it was declared harmless or another spelling won."""
        head, _, rest = path.partition(".")
        below = self._derived.get(head) or self._subs.get(head)
        if rest and below is not None:
            return below.is_used(rest)
        return head in self._read and not self._read[head][1].startswith(_NOT_COUNTED)

    def at(self, path: str) -> Any:
        """The value at a dotted key, unchecked; None when the key is missing."""
        found: Any = self._values
        for key in path.split("."):
            found = found.get(key) if isinstance(found, Mapping) else None
        return found

    def values_read(self) -> dict[str, tuple[Any, str]]:
        """{path: (value, source)} of all keys that were read, in the order of reading, nested readers last."""
        out = {self.path + name: entry for name, entry in self._read.items()}
        for sub in self._below_readers():
            out |= sub.values_read()
        return out

    def unread(self) -> dict[str, Any]:
        """{path: value} of keys in the file that nothing read and whose value is not null, false or empty."""
        out = {self.path + k: v for k, v in self._values.items()
               if k not in self._read and k not in HARMLESS and not is_of_class(self._origins.get(k))
               and self._derived.get(k) is None and v is not None and v not in ({}, [], "", False)}
        for sub in self._below_readers():
            out |= sub.unread()
        return out

    def _below_readers(self) -> list[ConfigReader]:
        derived = {name: reader for name, reader in self._derived.items() if reader is not None}
        return list((self._subs | derived).values())

    def _get(self, names: tuple[str, ...], default: Any) -> Any:
        for name in names:
            if self._values.get(name) is not None:
                self._remember(name, self._values[name], self._origins.get(name, self.source))
                for other in names:
                    if other != name and self._values.get(other) is not None:
                        self._remember(other, self._values[other], f"{_NOT_USED}: {name} counts")
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

    def _whole(self, names: tuple[str, ...], default: Any, expected: str, check: Any) -> Any:
        return whole_numbers(self._typed(names, default, expected, lambda v: check(whole_numbers(v))))

    def _remember(self, name: str, value: Any, source: str) -> None:
        self._read.setdefault(name, (value, source))
