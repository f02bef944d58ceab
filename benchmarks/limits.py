"""The highest rate that a machine allows for a model and a workload (roofline), from necessary bytes and operations.

A limit is a rate of the same kind as the workload's (`workloads.py`). It assumes that a step takes the longer of two
times: reading at the streaming bandwidth, and computing at the speed of matrix products in the model's dtype.

- A prefill step computes 2 operations for each token and each weight of a matrix (for experts: only those in use); the
  head only for the last token of each sequence; and attention, 4 * heads * head_dim operations in each layer for each
  pair of a token and a token that it sees. It reads the weights once. A shared prefix is computed once, followed by the
  rest of each prompt. All prompts together are one step.
- A decode step reads every weight once, and the keys and values of every token that is seen; those of a shared prefix
  once for all sequences. The context is taken as the mean: the prompt plus half of the generated tokens.
- Weights that are read: all parameters, but an embedding table only if it is also the head. With X experts of which
  each token uses K, a step of S tokens reads X * (1 - (1 - K/X) ** S) experts, the mean for an unbiased router.
- Bytes of a weight: those of the dtype; with quantization="int8" or "w8a8" 1, and 4 for each row; with "int4" 1/2, and
  2 for the scale of each group of 64; in a GGUF file the stored bytes of its tensors.
- Keys and values have the model's dtype. Writing, norms, activations and sampling count as free.

Products of 8-bit weights and activations can be faster than bfloat16's; the limit of a prompt ignores this. This module
only computes: it runs no engine and measures no time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

import torch
from machine import Bounds
from workloads import Workload

from weft.architectures.spec import DecoderSpec, MoESpec
from weft.layers.context import CacheFormat, LayerContext
from weft.models.decoder import Decoder
from weft.models.sizes import flops_per_token, model_of, parameter_shapes

INT4_GROUP = 64
NUM_SAMPLES = 32      # contexts at which attention's cost is computed; exact unless a window ends between two of them


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightBytes:
    """Bytes of the weights that a step reads.

    always: bytes of all weights but the experts. experts: bytes of all experts together; a token uses the fraction
    `share` of them.
    """

    always: float
    experts: float = 0.0
    share: float = 1.0

    def read(self, num_tokens: int) -> float:
        """Bytes that a step of `num_tokens` tokens reads."""
        return self.always + self.experts * (1 - (1 - self.share) ** num_tokens)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a model on a machine. int8_activations: products may be of 8-bit integers."""

    spec: DecoderSpec
    dtype: str
    weights: WeightBytes
    bounds: Bounds
    int8_activations: bool = False

    @cached_property
    def model(self) -> Decoder:
        """The model on the "meta" device, without memory, for its sizes."""
        return model_of(self.spec, context=LayerContext(getattr(torch, self.dtype), cache=CacheFormat(self.dtype)))

    def rate(self, workload: Workload) -> float:
        """The highest rate that the bounds allow."""
        prompt = self.prompt_seconds(workload)
        if workload.rate == "prefill":
            return sum(workload.prompt_lens) / prompt
        step = self.decode_seconds(workload)
        if workload.rate == "decode":
            return 1 / step
        seconds = prompt + (workload.output_len - 1) * step
        return len(workload.prompt_lens) * workload.output_len / seconds

    def prompt_seconds(self, workload: Workload) -> float:
        """Seconds to compute all prompts."""
        pieces = [(workload.shared_len, length) for length in workload.prompt_lens]
        if workload.shared_len:
            pieces.append((0, workload.shared_len))
        num_tokens = sum(end - start for start, end in pieces)
        operations = sum(self.prompt_operations(start, end) for start, end in pieces)
        operations += len(workload.prompt_lens) * self._head_operations()
        return self._step_seconds(self.weights.read(num_tokens), operations)

    def decode_seconds(self, workload: Workload) -> float:
        """Seconds of one decode step of all sequences, at their mean context."""
        grown = workload.output_len / 2
        contexts = [length + grown for length in workload.prompt_lens]
        read = self.weights.read(len(contexts)) + self.cache_bytes(workload.shared_len)
        read += sum(self.cache_bytes(context) - self.cache_bytes(workload.shared_len) for context in contexts)
        operations = sum(flops_per_token(self.model, context_len=round(context)) for context in contexts)
        return self._step_seconds(read, operations)

    def prompt_operations(self, start: int, end: int) -> float:
        """Operations to compute the tokens from position `start` to `end`, without the head."""
        body = flops_per_token(self.model) - self._head_operations()
        seen = [start + 1 + (end - 1 - start) * i // NUM_SAMPLES for i in range(NUM_SAMPLES + 1)]
        costs = [flops_per_token(self.model, context_len=context) - flops_per_token(self.model) for context in seen]
        attention = (costs[0] + costs[-1]) / 2 + sum(
            (seen[i + 1] - seen[i]) * (costs[i] + costs[i + 1]) / 2 for i in range(NUM_SAMPLES))
        return (end - start) * body + attention

    def cache_bytes(self, context_len: float) -> float:
        """Bytes of the keys and values that a token sees at a context."""
        return sum(layer.need.bytes_per_token * min(context_len, layer.need.window or context_len)
                   for layer in self.model.caches())

    def _head_operations(self) -> int:
        return 2 * self.spec.vocab_size * (self.spec.embedding.embedding_dim or self.spec.hidden_size)

    def _step_seconds(self, read: float, operations: float) -> float:
        rate = self.bounds.product(self.dtype, int8_activations=self.int8_activations)
        return max(read / self.bounds.read, operations / rate)


def weights_of(spec: DecoderSpec, dtype: str, model: str, quantization: str | None) -> WeightBytes:
    """Bytes of a model's weights as the engine runs it: from a GGUF file, or in a dtype, perhaps quantized at load."""
    return gguf_weight_bytes(spec, Path(model)) if model.endswith(".gguf") else weight_bytes(spec, dtype, quantization)


def weight_bytes(spec: DecoderSpec, dtype: str, quantization: str | None) -> WeightBytes:
    """Bytes of weights in a dtype, or quantized at load with "int8", "int4" or "w8a8" (None: not quantized)."""
    if quantization not in (None, "int8", "int4", "w8a8"):
        raise SystemExit(f"--quantization {quantization}: how many bytes its weights have is not known here; "
                         "expected int8, int4 or w8a8, or say it in benchmarks/limits.py")
    always = experts = 0.0
    for name, shape in parameter_shapes(model_of(spec)).items():
        if name == "embedding.positions.weight" or (name == "embedding.tokens.weight" and not spec.head.tied):
            continue
        size = _bytes_of(shape, dtype, quantization)
        if ".experts." in name:
            experts += size
        else:
            always += size
    return WeightBytes(always=always, experts=experts, share=_expert_share(spec))


def gguf_weight_bytes(spec: DecoderSpec, path: Path) -> WeightBytes:
    """Bytes of the weights in a GGUF file. Needs the package gguf."""
    from gguf import GGUFReader

    sizes = {tensor.name: int(tensor.n_bytes) for tensor in GGUFReader(path).tensors}
    if "output.weight" in sizes:
        del sizes["token_embd.weight"]
    experts = sum(size for name, size in sizes.items() if "_exps." in name)
    return WeightBytes(always=sum(sizes.values()) - experts, experts=experts, share=_expert_share(spec))


def _bytes_of(shape: tuple[int, ...], dtype: str, quantization: str | None) -> float:
    if len(shape) < 2 or quantization is None:
        return prod(shape) * getattr(torch, dtype).itemsize
    if quantization in ("int8", "w8a8"):
        return prod(shape) + 4 * shape[0]
    return prod(shape) * (1 / 2 + 2 / INT4_GROUP)


def _expert_share(spec: DecoderSpec) -> float:
    """The fraction of the experts that a token uses; 1 without experts. All blocks have equally many experts."""
    shares = {block.ffn.num_experts_per_token / block.ffn.num_experts for block in spec.blocks
              if isinstance(block.ffn, MoESpec)}
    return max(shares, default=1.0)
