"""Bounds on the sizes in a config, checked before anything is built: a config with 100 million layers is a mistake.

The bounds only keep numbers sane. Model families check sizes further as they read them (`ConfigReader.positive`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weft.architectures.reader import ConfigReader
from weft.config.whole_numbers import whole_numbers
from weft.resolve.stages import Values, at, config_paths, replaced

MAX_LAYERS, MAX_EXPERTS = 10_000, 10_000
MAX_HEADS = 2**16
MAX_WIDTH = 2**24          # values in a row of a hidden state, a feed-forward layer or a head
MAX_VOCAB_SIZE = 2**31     # token ids are kept in 32 bits

_LAYERS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers")
_SOME_LAYERS = ("encoder_layers", "decoder_layers", "num_encoder_layers", "num_decoder_layers", "num_mtp_layers",
                "num_nextn_predict_layers", "first_k_dense_replace")
_HEADS = ("num_attention_heads", "num_heads", "n_head", "n_heads", "num_key_value_heads", "num_kv_heads", "n_head_kv",
          "n_kv_heads", "kv_n_heads", "multi_query_group_num", "encoder_attention_heads", "decoder_attention_heads")
_WIDTHS = ("hidden_size", "n_embd", "n_embed", "d_model", "dim", "emb_dim", "kv_channels")
_SOME_WIDTHS = ("head_dim", "intermediate_size", "ffn_dim", "n_inner", "inner_dim", "ffn_hidden_size", "hidden_dim",
                "d_ff", "d_kv", "encoder_ffn_dim", "decoder_ffn_dim", "moe_intermediate_size", "v_head_dim",
                "shared_expert_intermediate_size", "word_embed_proj_dim", "qk_nope_head_dim", "qk_rope_head_dim",
                "rotary_dim", "q_lora_rank", "kv_lora_rank", "state_size", "conv_kernel", "time_step_rank", "expand",
                "n_groups", "chunk_size")
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "n_shared_experts", "num_experts_per_tok",
            "n_group", "topk_group")

# {key: (smallest, largest)} for a size or for each size in a list. Smallest 0: 0 may mean that the part is absent.
BOUNDS: Mapping[str, tuple[int, int]] = {
    **dict.fromkeys(_LAYERS, (1, MAX_LAYERS)), **dict.fromkeys(_SOME_LAYERS, (0, MAX_LAYERS)),
    **dict.fromkeys(_HEADS, (1, MAX_HEADS)), **dict.fromkeys(_WIDTHS, (1, MAX_WIDTH)),
    **dict.fromkeys(_SOME_WIDTHS, (0, MAX_WIDTH)), **dict.fromkeys(_EXPERTS, (0, MAX_EXPERTS)),
    **dict.fromkeys(("vocab_size", "padded_vocab_size"), (1, MAX_VOCAB_SIZE - 1)),
}
# Keys that hold whole numbers without bounds here.
_LENGTHS = ("max_position_embeddings", "n_positions", "sliding_window")


def check_sizes(given: Values, source: str) -> Values:
    """The config with sizes written as 4.0 turned into ints, in nested configs too.

    ConfigError for a size out of its bounds. Values that are neither numbers nor lists of numbers are left unchecked.
    """
    values, root = given.values, ConfigReader(given.values, source=source, origins=given.origins)
    for path in list(config_paths(values)):
        reader, config = root, at(values, path)
        for name in path:
            reader = reader.sub(name)
        whole = {key: whole_numbers(config[key]) for key in (*BOUNDS, *_LENGTHS) if config.get(key) is not None}
        for key in BOUNDS.keys() & whole.keys():
            _check(reader, key, whole[key])
        values = replaced(values, path, {**config, **whole})
    return Values(dict(values), given.origins)


def _check(reader: ConfigReader, key: str, value: Any) -> None:
    low, high = BOUNDS[key]
    for number in value if isinstance(value, list) else [value]:
        if isinstance(number, int) and not isinstance(number, bool) and not low <= number <= high:
            raise reader.error(key, value, f"an integer from {low} to {high}")
