"""Turns a GGUF file's metadata into the config keys that model families read. Origins name the metadata keys.

Unknown metadata of the file's architecture keep their names, so that the family's reader reports them as unread. Knows
no torch; the differences between families are data in `gguf/families.py`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from weft.errors import CheckpointError, ConfigError, NotBuiltError
from weft.resolve.config_file import HFConfig, normalise
from weft.resolve.gguf.families import GGUF_FAMILIES, GGUFFamily
from weft.resolve.gguf.labels import LAYERS, POOLINGS, RANK, labels_in
from weft.resolve.gguf.model import GGUFModel, read_gguf_model
from weft.resolve.gguf.tokens import special_ids

# Metadata key, without the architecture in front -> config key, for all families.
KEYS: Mapping[str, str] = {
    "context_length": "max_position_embeddings", "block_count": "num_hidden_layers", "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size", "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads", "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.layer_norm_epsilon": "layer_norm_eps", "attention.sliding_window": "sliding_window",
    "attention.clamp_kqv": "clip_qkv", "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping", "logit_scale": "logit_scale",
    "use_parallel_residual": "use_parallel_residual", "expert_count": "num_experts",
    "expert_used_count": "num_experts_per_tok", "rope.freq_base_swa": "rope_local_base_freq",
}
_NEEDED = ("block_count", "embedding_length", "attention.head_count")
# Keys that do not change the output, unless code below reads them.
_HARMLESS = ("vocab_size", "tensor_data_layout", "rope.scaling.finetuned", "rope.scaling.original_context_length")
_SCORES = {1: "softmax", 2: "sigmoid"}          # llama.cpp's numbers for what becomes of a router's logits
_MAX_FACTORS = 4096         # most values in a tensor of rotary factors, which has one for each pair of a head's values


def read_gguf_config(path: Path, overrides: Mapping[str, Any]) -> HFConfig:
    """The config of a GGUF model, given any of its files, with the user's overrides on top.

    ConfigError (NotBuiltError for an unknown family) or CheckpointError; the error names file and metadata key.
    """
    metadata = _Metadata(read_gguf_model(path))
    metadata.fill()
    return normalise(metadata.values, overrides, str(path), metadata.origins)


def maybe_patch_hf_config_from_gguf(model: str | Path, config: HFConfig) -> HFConfig:
    """The config.json beside a GGUF file, with vocabulary size and tied embeddings corrected from the file's tensors.

    Quantization settings of the config describe other files, so they are dropped.
    """
    gguf = read_gguf_model(Path(model))
    own: dict[str, Any] = {"tie_word_embeddings": "output.weight" not in gguf.tensors}
    embedding = gguf.tensors.get("token_embd.weight")
    if embedding is not None and len(embedding.shape) == 2:
        own["vocab_size"] = embedding.shape[0]
    text = dict(config.text)
    if not any(text.get(key) or config.values.get(key) for key in ("dtype", "torch_dtype")):
        own["torch_dtype"] = _dtype(gguf)
    changed = {key: value for key, value in own.items() if text.get(key) != value}
    text = {key: value for key, value in (text | changed).items() if key != "quantization_config"}
    values = text if not config.text_path else dict(config.values) | {config.text_path.rstrip("."): text}
    values.pop("quantization_config", None)
    origins = {f"{config.text_path}{key}": f"tensors of {Path(model).name}" for key in changed}
    return replace(config, values=values, origins=config.origins | origins)


class _Metadata:
    """One model's metadata, its family, and the config made from them (`values`, with `origins`)."""

    def __init__(self, gguf: GGUFModel) -> None:
        self.gguf, self.tensors = gguf, gguf.tensors
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        self._asked: set[str] = set()
        self.name = self._architecture()
        self.family = self._family()

    def fill(self) -> None:
        """Fill `values` and `origins`."""
        for name in _NEEDED:
            if self.get(name) is None:
                raise self.error(name, None, "a value", "The key is missing.")
        self._set("architectures", [self.family.architecture], "general.architecture")
        self._set("model_type", self.family.model_type, "general.architecture")
        for key, value in self.family.constants.items():
            self._set(key, value, f"all {self.name} files")
        self._copy_keys()
        self._sizes()
        self._layers()
        if self.family.is_encoder:
            self._encoder()
        self._classifier()
        if self.family.has_rope:
            self._rope()
        self._tokens()
        for key, names in self.family.flags.items():
            names = (names,) if isinstance(names, str) else names
            is_there = any(f"{where}{name}" in self.tensors for name in names for where in ("blk.0.", ""))
            self._set(key, is_there, f"tensor {' or '.join(names)}")
        for key, (tensor, if_there, if_not) in self.family.choices.items():
            self._set(key, if_there if f"blk.0.{tensor}" in self.tensors else if_not, f"tensor blk.0.{tensor}")
        self._report_unknown()
        self._set("torch_dtype", _dtype(self.gguf), "majority of the tensors")

    def get(self, name: str) -> Any:
        """The value of a key of this architecture. A list with equal entries (one for each layer) becomes one value."""
        self._asked.add(name)
        value = self.gguf.metadata.get(f"{self.name}.{name}")
        if isinstance(value, np.ndarray):
            value = value.tolist()
            if value and all(entry == value[0] for entry in value) and name != "attention.sliding_window_pattern":
                value = value[0]
        return value

    def number(self, name: str, default: Any = None) -> Any:
        """A finite number, or the default."""
        value = self.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.error(name, value, "a number")
        return value

    def error(self, name: str, value: Any, expected: str, hint: str = "") -> ConfigError:
        return ConfigError(f"{self.name}.{name}", value, expected=expected, hint=hint, source=str(self.gguf.path))

    def _set(self, key: str, value: Any, origin: str) -> None:
        self.values[key], self.origins[key] = value, origin

    def _architecture(self) -> str:
        name = self.gguf.metadata.get("general.architecture")
        if not isinstance(name, str):
            raise ConfigError("general.architecture", name, expected="a string", source=str(self.gguf.path))
        if name not in GGUF_FAMILIES:
            raise NotBuiltError(
                "general.architecture", name, expected=f"one of {', '.join(GGUF_FAMILIES)}",
                source=str(self.gguf.path), hint="weft does not describe this family as GGUF yet: take the model's "
                "safetensors files where `weft models` lists it.")
        return name

    def _family(self) -> GGUFFamily:
        family = GGUF_FAMILIES[self.name]
        for key, (least, other) in family.if_above.items():
            if self.number(key, 0) > least:
                return other
        return next((other for key, other in family.if_true.items() if self.get(key) is True), family)

    def _copy_keys(self) -> None:
        for name, key in (dict(KEYS) | dict(self.family.keys)).items():
            value = self.get(name)
            is_dense = name.startswith("expert_") and value == 0        # files of models without experts may have zeros
            if key == "scoring_func":
                value = _SCORES.get(value, value)
            if key == "mamba_expand":
                value = self.number(name, 0) / self.number("embedding_length")
            if value is None or key is None or is_dense:
                continue
            above, _, last = key.rpartition(".")
            if above:
                self.values.setdefault(above, {})[last] = value
            else:
                self._set(key, value, f"{self.name}.{name}")

    def _report_unknown(self) -> None:
        """Add the architecture's unread keys under their own names, so that they are reported: no family reads them."""
        for full, value in self.gguf.metadata.items():
            name = full.removeprefix(f"{self.name}.")
            if name != full and name not in self._asked and name not in _HARMLESS:
                self._set(full, f"<{len(value)} values>" if isinstance(value, list | np.ndarray) else value, full)

    def _sizes(self) -> None:
        embedding = self.tensors.get("token_embd.weight")
        if embedding is not None and len(embedding.shape) == 2:
            self._set("vocab_size", embedding.shape[0], "tensor token_embd.weight")
        elif (vocab_size := self.get("vocab_size")) is not None:
            self._set("vocab_size", vocab_size, f"{self.name}.vocab_size")
        self._set("tie_word_embeddings", "output.weight" not in self.tensors, "tensor output.weight")
        if self.family.is_latent:
            return self._latent_heads()
        size, source = self._head_dim()
        if size is not None and self.family.head_dim is not None:
            self._set(self.family.head_dim, size, source)
        if self.family.wide_scale_layers is not None:
            self._query_scale(size)

    def _head_dim(self) -> tuple[int | None, str]:
        size = self.number("attention.key_length")
        value_size = self.number("attention.value_length", size)
        if size is not None:
            if value_size != size:
                raise self.error("attention.value_length", value_size, f"{size}, as attention.key_length")
            return size, f"{self.name}.attention.key_length"
        return self._width_by_heads(), f"{self.name}.embedding_length / attention.head_count"

    def _latent_heads(self) -> None:
        """Set the head sizes of latent attention (MLA), as they are after expansion from the latent.

        Newer files have them in keys that end in _mla; their other keys then hold the sizes of the latent.
        """
        own = "_mla" if self.number("attention.key_length_mla") is not None else ""
        size, rotated = self.number(f"attention.key_length{own}"), self.number("rope.dimension_count")
        if not isinstance(size, int) or not isinstance(rotated, int) or not 0 < rotated < size:
            raise self.error(f"attention.key_length{own}", size, f"an integer above rope.dimension_count = {rotated}")
        self._set("qk_nope_head_dim", size - rotated, f"{self.name}.attention.key_length{own} - rope.dimension_count")
        self._set("v_head_dim", self.number(f"attention.value_length{own}"), f"{self.name}.attention.value_length{own}")

    def _width_by_heads(self) -> int | None:
        """embedding_length / attention.head_count; None if that is no whole number (the family raises the error)."""
        width, heads = self.number("embedding_length"), self.number("attention.head_count")
        is_whole = isinstance(width, int) and isinstance(heads, int) and heads >= 1 and width % heads == 0
        return width // heads if is_whole else None

    def _query_scale(self, head_dim: int | None) -> None:
        scale = self.number("attention.scale")
        if scale is not None:
            if not 1e-6 < scale < 1e6:
                raise self.error("attention.scale", scale, "a number above 0 and of sane size")
            self._set("query_pre_attn_scalar", round(scale ** -2), f"{self.name}.attention.scale")
        elif self.number("block_count") == self.family.wide_scale_layers and self._width_by_heads() is not None:
            self._set("query_pre_attn_scalar", self._width_by_heads(),
                      "the family's largest model: embedding_length / attention.head_count")
        elif head_dim is not None:
            self._set("query_pre_attn_scalar", head_dim, "the size of a head")

    def _layers(self) -> None:
        """Set which layers have a sliding window, and which layers of a mixture of experts have none."""
        name, layers = "attention.sliding_window_pattern", self.number("block_count")
        pattern = None if name in self.family.keys else self.get(name)
        if isinstance(layers, int) and 1 <= layers <= len(self.tensors):
            if isinstance(pattern, int) and pattern > 1:
                pattern = [(layer + 1) % pattern != 0 for layer in range(layers)]
            dense = [i for i in range(layers) if f"blk.{i}.ffn_gate_inp.weight" not in self.tensors]
            says_otherwise = "leading_dense_block_count" in self.family.keys or self.family.has_periods
            if dense and "num_experts" in self.values and not says_otherwise:
                self._set("mlp_only_layers", dense, "tensors blk.*.ffn_gate_inp")
        if isinstance(pattern, list):
            types = ["sliding_attention" if slides else "full_attention" for slides in pattern]
            self._set("layer_types", types, f"{self.name}.{name}")
        elif pattern is not None and not isinstance(pattern, int):
            raise self.error(name, pattern, "a number or a list of booleans")
        if self.values.get("num_nextn_predict_layers"):         # files count the layers for drafts, too
            self._set("num_hidden_layers", layers - self.values["num_nextn_predict_layers"], f"{self.name}.block_count")
        self._hybrid_layers()

    def _hybrid_layers(self) -> None:
        """Set which layers of a hybrid model have attention, from the number of KV heads of each."""
        name, kinds = "attention.head_count_kv", self.family.layer_kinds
        counts = self.get(name)
        if kinds is None or not isinstance(counts, list):
            return
        heads = {count for count in counts if count}
        if len(heads) != 1:
            raise self.error(name, counts, "zeros, and one other number")
        self._set("num_key_value_heads", heads.pop(), f"{self.name}.{name}")
        if self.family.has_periods:
            self._period("attn_layer", [i for i, count in enumerate(counts) if count], f"{self.name}.{name}")
            sparse = [i for i in range(len(counts)) if f"blk.{i}.ffn_gate_inp.weight" in self.tensors]
            return self._period("expert_layer", sparse or [0], "tensors blk.*.ffn_gate_inp")
        self._set("layer_types", [kinds[0] if count else kinds[1] for count in counts], f"{self.name}.{name}")

    def _period(self, key: str, layers: list[int], origin: str) -> None:
        """Set the period and the offset of layers. ConfigError unless they have some."""
        count, first = self.number("block_count"), layers[0]
        period = layers[1] - first if len(layers) > 1 else count
        if layers != list(range(first, count, period)) or first >= period:
            raise ConfigError(origin, layers, expected="layers at equal distances", source=str(self.gguf.path))
        self._set(f"{key}_period", period, origin)
        self._set(f"{key}_offset", first, origin)

    def _encoder(self) -> None:
        """Set the number of token types, and how states become a vector."""
        types, name = self.tensors.get("token_types.weight"), "pooling_type"
        count = 0 if types is None else types.shape[0] if len(types.shape) == 2 else 1
        self._set("type_vocab_size", count, "tensor token_types.weight")
        kind = self.get(name)
        if not isinstance(kind, int | None) or kind not in POOLINGS:
            raise NotBuiltError(f"{self.name}.{name}", kind, expected=f"one of {', '.join(map(str, POOLINGS))}",
                                source=str(self.gguf.path), hint="weft has no code for this pooling.")
        if POOLINGS[kind] is not None:
            self._set("pooler_config", {"seq_pooling_type": POOLINGS[kind]}, f"{self.name}.{name}")

    def _classifier(self) -> None:
        """Set the class and the labels of a classifier or reranker: a file with a layer to labels."""
        labels = labels_in(self.tensors, self.get("classifier.output_labels"))
        is_rank = self.get("pooling_type") == RANK
        if self.family.is_encoder and is_rank and not labels:
            raise self.error("pooling_type", RANK, f"a tensor {' or '.join(LAYERS)}", "There is none.")
        if labels and (is_rank or not self.family.is_encoder):
            body = self.family.architecture.removesuffix("ForCausalLM").removesuffix("Model")
            self._set("architectures", [f"{body}ForSequenceClassification"], "tensors cls.*")
            self._set("id2label", labels, "tensors cls.*")

    def _rope(self) -> None:
        rope: dict[str, Any] = {"rope_type": "default", "rope_theta": self.number("rope.freq_base", 10000.0)}
        rotated, key = self.number("rope.dimension_count"), self.family.head_dim
        size = self._width_by_heads() if key is None else self.values.get(key)
        if rotated is not None and isinstance(size, int) and size > 0:
            if not isinstance(rotated, int):
                raise self.error("rope.dimension_count", rotated, "an integer")
            rope["partial_rotary_factor"] = _fraction(rotated, size)
        rope |= self._scaling() | self._factors()
        if rope["rope_type"] != "longrope" and self.get("rope.scaling.type") == "longrope":
            raise self.error("rope.scaling.type", "longrope", "a tensor rope_factors_long.weight", "There is none.")
        if self.family.local_rope_base is not None:
            local = self.number("rope.freq_base_swa", self.family.local_rope_base)
            rope = {"full_attention": rope, "sliding_attention": {"rope_type": "default", "rope_theta": local}}
        self._set("rope_parameters", rope, f"{self.name}.rope.*")

    def _scaling(self) -> dict[str, Any]:
        """The scaling parameters, by `rope.scaling.type`. Older files lack that key, and scale linearly if at all."""
        kind = self.get("rope.scaling.type")
        if kind == "yarn":
            return self._given({
                "rope_type": "yarn", "factor": "rope.scaling.factor",
                "original_max_position_embeddings": "rope.scaling.original_context_length",
                "attention_factor": "rope.scaling.yarn_attn_factor", "beta_fast": "rope.scaling.yarn_beta_fast",
                "beta_slow": "rope.scaling.yarn_beta_slow"}) | self._yarn_scales()
        if kind in ("none", "longrope"):
            if self.gguf.metadata.get(f"{self.name}.rope.scaling.factor") == 1.0:         # as HunYuan's files say
                self._asked.add("rope.scaling.factor")
            return {}
        if kind not in (None, "linear"):
            raise self.error("rope.scaling.type", kind, "none, linear, yarn or longrope")
        factor = self.number("rope.scaling.factor", self.number("rope.scale_linear", 0))
        return {"rope_type": "linear", "factor": factor} if factor or kind else {}

    def _yarn_scales(self) -> dict[str, Any]:
        """DeepSeek's `mscale` and `mscale_all_dim`: ten times the file's one number, which stands for both."""
        multiplier = self.number("rope.scaling.yarn_log_multiplier")
        scale = None if multiplier is None else round(10 * multiplier, 6)       # removes the noise of float32
        return {"mscale": scale, "mscale_all_dim": scale} if scale else {}

    def _given(self, names: dict[str, str]) -> dict[str, Any]:
        """{rope parameter: value} for the metadata keys that the file has. names: {rope parameter: metadata key};
        the entry rope_type is a value itself.
        """
        return {key: value for key, name in names.items()
                if (value := name if key == "rope_type" else self.number(name)) is not None}

    def _factors(self) -> dict[str, Any]:
        """Rotary factors from tensors, one value for each frequency.

        Files have two tensors, for short and long texts (Phi-3), or one for all lengths (as Llama 3's scaling).
        """
        if "rope_freqs.weight" in self.tensors:
            factors = self._floats("rope_freqs.weight")
            return {"rope_type": "longrope", "short_factor": factors, "long_factor": factors, "attention_factor": 1.0,
                    "original_max_position_embeddings": self.number("context_length", 1)}
        if "rope_factors_long.weight" not in self.tensors:
            return {}
        return {"rope_type": "longrope", "long_factor": self._floats("rope_factors_long.weight"),
                "short_factor": self._floats("rope_factors_short.weight")} | self._given({
                    "original_max_position_embeddings": "rope.scaling.original_context_length",
                    "attention_factor": "rope.scaling.attn_factor"})

    def _floats(self, name: str) -> list[float]:
        for part in self.gguf.parts:
            tensor = part.tensors.get(name)
            if tensor is not None:
                if tensor.type.name != "F32" or len(tensor.shape) != 1 or not 1 <= tensor.shape[0] <= _MAX_FACTORS:
                    raise CheckpointError(f"{part.path}: tensor {name!r}: {tensor.type.name} {list(tensor.shape)}, "
                                          f"expected F32 [1 to {_MAX_FACTORS}].")
                return np.fromfile(part.path, dtype="<f4", count=tensor.shape[0], offset=tensor.start).tolist()
        raise CheckpointError(f"{self.gguf.path}: tensor {name!r} is missing.")

    def _tokens(self) -> None:
        """Set special token ids."""
        for key, (value, origin) in special_ids(self.gguf.metadata).items():
            self._set(key, value, origin)


def _fraction(part: int, whole: int) -> float:
    """part / whole, rounded up if needed so that int(whole * result) is part again."""
    value = part / whole
    return value if int(whole * value) == part else math.nextafter(value, math.inf)


def _dtype(gguf: GGUFModel) -> str:
    """The dtype of most values in the matrices; quantized values count as bfloat16."""
    names = {"F32": "float32", "F64": "float32", "F16": "float16"}
    counts: Counter[str] = Counter()
    for tensor in gguf.tensors.values():
        if len(tensor.shape) > 1:
            counts[names.get(tensor.type.name, "bfloat16")] += math.prod(tensor.shape)
    return counts.most_common(1)[0][0] if counts else "float32"
