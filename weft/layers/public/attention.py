"""`Attention` and its kin: attention for foreign models. Binding gives a layer its cache, and its way to the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weft.cache.masks import CAUSAL, Bidirectional, Chunked, Mask
from weft.errors import ConfigError, NotBuiltError
from weft.layers.context import LayerContext
from weft.layers.paged_attention import PagedAttention
from weft.layers.public.layer import PublicLayer, StepRef, check_input, check_sizes, unsupported
from weft.layers.public.options import check_unknown
from weft.ops.attention import AlibiBias, AttentionParams
from weft.ops.step import Step


class AttentionType(StrEnum):
    """Whose keys a query sees: earlier ones of its sequence; all of an encoder's input, in a model with a decoder or
    without; or, from a decoder, those of an encoder.
    """

    DECODER = "decoder"
    ENCODER = "encoder"
    ENCODER_ONLY = "encoder_only"
    ENCODER_DECODER = "encoder_decoder"


class Attention(PublicLayer):
    """Softmax attention of a step's queries over the cache. Arguments as vLLM's class of this name.

    num_heads, num_kv_heads: of this process. kv_sharing_target_layer_name: prefix of an earlier Attention, whose keys
    and values this one reads; its own are not stored.
    """

    mask: Mask = CAUSAL

    def __init__(self, num_heads: int, head_size: int, scale: float, num_kv_heads: int | None = None,
                 alibi_slopes: Any = None, use_alibi_sqrt: bool | None = None, cache_config: Any = None,
                 quant_config: Any = None, logits_soft_cap: float | None = None,
                 per_layer_sliding_window: int | None = None, prefix: str = "",
                 attn_type: str = AttentionType.DECODER, kv_sharing_target_layer_name: str | None = None,
                 sinks: Tensor | None = None, **unknown: Any) -> None:
        super().__init__(quant_config, prefix)
        check_unknown(type(self).__name__, unknown)
        unsupported("Attention", use_alibi_sqrt=use_alibi_sqrt)
        self.num_heads, self.head_size, self.scale = num_heads, head_size, scale
        self.num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        check_sizes(self, num_heads=num_heads, head_size=head_size, num_kv_heads=self.num_kv_heads)
        if num_heads % self.num_kv_heads:
            raise ConfigError("Attention.num_kv_heads", self.num_kv_heads, expected=f"a divisor of {num_heads} heads")
        if per_layer_sliding_window is not None:
            check_sizes(self, per_layer_sliding_window=per_layer_sliding_window)
        if sinks is not None and sinks.shape != (num_heads,):
            raise ConfigError("Attention.sinks", list(sinks.shape), expected=f"[{num_heads}], one for each head")
        self.attn_type = _attn_type(attn_type)
        if self.attn_type in (AttentionType.ENCODER_ONLY, AttentionType.ENCODER):
            self.mask = Bidirectional()
            unsupported("Attention of an encoder", per_layer_sliding_window=per_layer_sliding_window)
        self.window, self.soft_cap, self.layer_name = per_layer_sliding_window, logits_soft_cap, prefix
        self.sliding_window, self.kv_sharing_target_layer_name = self.window, kv_sharing_target_layer_name
        self._alibi = _alibi(alibi_slopes, num_heads)
        self._sinks = (sinks,)                                # in a tuple: the parameter is another module's
        self._step = StepRef()

    @property
    def is_cross(self) -> bool:
        """True for a decoder's attention over an encoder's tokens."""
        return self.attn_type == AttentionType.ENCODER_DECODER

    @property
    def has_cache(self) -> bool:
        """False within an encoder beside a decoder: its tokens are computed in one step, and none later."""
        return not (self.attn_type == AttentionType.ENCODER and self._step.has_encoder)

    def bind(self, context: LayerContext, step: StepRef) -> None:
        """As PublicLayer; the layer gets its own part of the paged cache."""
        super().bind(context, step)
        self._step = step
        if self.is_cross and not step.has_encoder:
            raise NotBuiltError("Attention.attn_type", str(self.attn_type), expected="a model whose forward takes "
                                "encoder_input_ids and encoder_positions", hint="Encoders of images or sound are not "
                                "built yet.")
        if not self.has_cache:
            unsupported("Attention of an encoder", logits_soft_cap=self.soft_cap, alibi_slopes=self._alibi,
                        sinks=self._sinks[0])
            return
        self.paged = PagedAttention(
            num_heads=self.num_heads, num_kv_heads=self.num_kv_heads, head_dim=self.head_size, window=self.window,
            mask=self.mask, context=context, is_cross=self.is_cross, params=AttentionParams(
                scale=self.scale, softcap=self.soft_cap, alibi=self._alibi, sinks=self._sinks[0]))

    def finish_loading(self) -> None:
        """As Layer: sinks are read now, when their module has been loaded."""
        (sinks,) = self._sinks
        if sinks is not None:
            self.paged.params = replace(self.paged.params, sinks=sinks.detach().float().clone())
        super().finish_loading()

    def forward(self, query: Tensor, key: Tensor | None, value: Tensor | None, *older: Any,
                output_shape: Any = None, **named: Any) -> Tensor:
        """query [T, H * D] or [T, H, D]; key, value alike with Hkv heads. Returns query's shape, or output_shape.

        key, value: None is allowed where the layer reads those of another. Over an encoder's tokens: those of the
        N tokens of `encoder_input_ids`, or None where there are none; the layer keeps them for later steps.
        Within an encoder all three are [N, ...].
        older, named: output_shape by place, or the cache and metadata that models of vLLM before 0.8 pass: the layer
        finds both itself.
        RuntimeError outside a step, and when it is called twice in one: the cache has one key for each token.
        """
        self.ready()
        output_shape = next((value for value in older if isinstance(value, torch.Size)), output_shape)
        unknown = named.keys() - {"kv_cache", "attn_metadata"}
        if unknown:
            raise TypeError(f"Attention was called with {', '.join(sorted(unknown))}: expected query, key, value")
        step = self._step.current(self)
        if not self.has_cache:
            return self._within_encoder(query, key, value, step).reshape(
                query.shape if output_shape is None else output_shape)
        rows = len(step.input_ids)
        q = self._heads("query", query, self.num_heads, rows)
        self.note_call(self._step.memo)
        out = torch.empty(q.shape, dtype=q.dtype)
        if self.kv_sharing_target_layer_name is not None:
            out = self.paged.read(q, step, out)
        else:
            new = sum(map(len, step.encoder_ids.values())) if self.is_cross else rows
            if self.is_cross and not new:
                key = value = query.new_empty(0, self.num_kv_heads, self.head_size)
            k, v = (self._heads(name, x, self.num_kv_heads, new) for name, x in (("key", key), ("value", value)))
            out = self.paged(q, k, v, step, out)
        return out.reshape(query.shape if output_shape is None else output_shape)

    def _within_encoder(self, query: Any, key: Any, value: Any, step: Step) -> Tensor:
        """[N, H, D]: every token of an encoder's input sees all of that input."""
        lens = [len(ids) for ids in step.encoder_ids.values()]
        q, k, v = (self._heads(name, x, heads, sum(lens)).transpose(0, 1).unsqueeze(0) for name, x, heads in (
            ("query", query, self.num_heads), ("key", key, self.num_kv_heads), ("value", value, self.num_kv_heads)))
        return _attend_apart(q, k, v, list(accumulate(lens, initial=0)), self.scale)[0].transpose(0, 1)

    def note_call(self, memo: dict[Any, Any]) -> None:
        """Note in the step's memo that the layer is called. RuntimeError when it was called before."""
        if self in memo:
            raise RuntimeError(f"Attention {self.layer_name} was called twice in a step: its cache has one key and one "
                               "value for each token. Make an Attention for each place where the model attends.")
        memo[self] = True

    def _heads(self, name: str, x: Any, heads: int, rows: int) -> Tensor:
        """[T, heads, D], a token's heads together. ValueError names the argument that does not fit."""
        check_input(self, name, x, self.ready())
        if x.shape not in ((rows, heads * self.head_size), (rows, heads, self.head_size)):
            whose = "step's" if rows == len(self._step.current(self).input_ids) else "encoder's new"
            raise ValueError(f"Attention: {name} is {list(x.shape)}, expected [{rows}, {heads * self.head_size}] or "
                             f"[{rows}, {heads}, {self.head_size}]: the {whose} {rows} tokens")
        x = x.reshape(rows, heads, self.head_size)
        return x if x.stride()[1:] == (self.head_size, 1) else x.contiguous()


class EncoderOnlyAttention(Attention):
    """Attention in which every token of a sequence sees all. Arguments as vLLM's class of this name."""

    def __init__(self, num_heads: int, head_size: int, scale: float, *args: Any,
                 attn_type: str | None = None, **options: Any) -> None:
        if attn_type not in (None, AttentionType.ENCODER_ONLY):
            raise ConfigError("EncoderOnlyAttention.attn_type", attn_type, expected='"encoder_only"')
        super().__init__(num_heads, head_size, scale, *args, attn_type=AttentionType.ENCODER_ONLY, **options)


class CrossAttention(Attention):
    """Attention of a decoder over an encoder's tokens. Arguments as vLLM's class of this name."""

    def __init__(self, num_heads: int, head_size: int, scale: float, *args: Any,
                 attn_type: str | None = None, **options: Any) -> None:
        if attn_type not in (None, AttentionType.ENCODER_DECODER):
            raise ConfigError("CrossAttention.attn_type", attn_type, expected='"encoder_decoder"')
        super().__init__(num_heads, head_size, scale, *args, attn_type=AttentionType.ENCODER_DECODER, **options)


class ChunkedLocalAttention(Attention):
    """Causal attention within chunks of `attention_chunk_size` tokens (Llama 4). Arguments as vLLM's class."""

    def __init__(self, num_heads: int, head_size: int, scale: float, attention_chunk_size: int,
                 num_kv_heads: int | None = None, alibi_slopes: Any = None, cache_config: Any = None,
                 quant_config: Any = None, kv_sharing_target_layer_name: str | None = None, prefix: str = "",
                 **unknown: Any) -> None:
        super().__init__(num_heads, head_size, scale, num_kv_heads, alibi_slopes, None, cache_config, quant_config,
                         prefix=prefix, kv_sharing_target_layer_name=kv_sharing_target_layer_name, **unknown)
        self.mask = Chunked(attention_chunk_size)


class MMEncoderAttention(nn.Module):
    """Attention of a vision or audio encoder within its own input, without a cache. Arguments as vLLM's class."""

    def __init__(self, num_heads: int, head_size: int, scale: float | None = None, num_kv_heads: int | None = None,
                 prefix: str = "", **unknown: Any) -> None:
        super().__init__()
        check_unknown("MMEncoderAttention", unknown)
        self.num_heads, self.head_size, self.prefix = num_heads, head_size, prefix
        self.num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        check_sizes(self, num_heads=num_heads, head_size=head_size, num_kv_heads=self.num_kv_heads)
        self.scale = head_size ** -0.5 if scale is None else scale

    def forward(self, query: Tensor, key: Tensor, value: Tensor, cu_seqlens: Tensor | None = None,
                max_seqlen: Any = None, sequence_lengths: Any = None) -> Tensor:
        """query [B, L, H * D] or [B, L, H, D]; key, value alike with Hkv heads. Returns query's shape.

        cu_seqlens: where inputs that lie one after another begin and the last ends; tokens see their own input only.
        """
        q, k, v = (x.reshape(x.shape[0], x.shape[1], heads, self.head_size).transpose(1, 2) for x, heads in (
            (query, self.num_heads), (key, self.num_kv_heads), (value, self.num_kv_heads)))      # [B, H, L, D]
        ends = [0, q.shape[2]] if cu_seqlens is None else cu_seqlens.tolist()
        return _attend_apart(q, k, v, ends, self.scale).transpose(1, 2).reshape(query.shape)


def _attend_apart(q: Tensor, k: Tensor, v: Tensor, ends: Sequence[int], scale: float) -> Tensor:
    """[B, H, L, D]: attention within inputs that lie one after another. k, v: [B, Hkv, L, D]. ends: 0, and each end."""
    parts = [F.scaled_dot_product_attention(q[:, :, start:end], k[:, :, start:end], v[:, :, start:end], scale=scale,
                                            enable_gqa=q.shape[1] != k.shape[1]) for start, end in pairwise(ends)]
    return torch.cat(parts, dim=2) if parts else q


def share_caches(model: nn.Module) -> tuple[PagedAttention, ...]:
    """The cache layers of a model. Those that read another's keys and values learn its number. ConfigError for a name
    that no earlier Attention has, or that two have.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, Attention) and layer.has_cache]
    numbers = _by_name(layers)
    for number, layer in enumerate(layers):
        target = layer.kv_sharing_target_layer_name
        if target is None:
            continue
        if numbers.get(target, number) >= number:
            raise ConfigError("Attention.kv_sharing_target_layer_name", target,
                              expected="the prefix of an earlier Attention layer of the model")
        layer.paged.need = replace(layer.paged.need, bytes_per_token=0, source=numbers[target])
    return tuple(layer.paged for layer in layers)


def _by_name(layers: list[Attention]) -> Mapping[str, int]:
    numbers: dict[str, int] = {}
    for number, layer in enumerate(layers):
        if layer.layer_name and layer.layer_name in numbers:
            raise ConfigError("Attention.prefix", layer.layer_name, expected="a prefix that no other Attention has")
        numbers[layer.layer_name] = number
    return numbers


def _attn_type(name: str) -> AttentionType:
    try:
        return AttentionType(name)
    except ValueError as error:
        raise ConfigError("Attention.attn_type", name, expected=", ".join(AttentionType)) from error


def _alibi(slopes: Any, num_heads: int) -> AlibiBias | None:
    """slopes: numbers, of each head."""
    if slopes is None:
        return None
    found = torch.as_tensor(slopes, dtype=torch.float32).flatten().clone()
    if found.shape != (num_heads,):
        raise ConfigError("Attention.alibi_slopes", list(found.shape), expected=f"[{num_heads}], one for each head")
    return AlibiBias(slopes=found)
