"""A Transformers model whose linear layers read activations rounded to 8 bits, by which weft's are judged."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM


def continued(directory: Path, token_ids: list[int], count: int, *, steps: float = 127, block: int | None = None,
              layers: tuple[str, ...] = ("_proj",)) -> tuple[list[int], float]:
    """(likeliest tokens, sum of their logprobs) of a checkpoint of floats; inputs of its `layers` are rounded.

    steps: max |x| of a token divided by its scale: 127, or 127.5 by compressed-tensors' quantization/utils/helpers.py.
    block: columns with one scale; None: all. layers: ends of the names of the modules.
    """
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    for name, module in model.named_modules():
        if name.endswith(layers):
            module.register_forward_pre_hook(lambda module, args: (rounded(args[0], steps, block),))
    found, total = list(token_ids), 0.0
    with torch.inference_mode():
        for _ in range(count):
            logprobs = model(torch.tensor([found]), use_cache=False).logits[0, -1].log_softmax(-1)
            found.append(int(logprobs.argmax()))
            total += logprobs.max().item()
    return found[len(token_ids):], total


def rounded(x: torch.Tensor, steps: float, block: int | None = None) -> torch.Tensor:
    """x [..., K], each row (or each block of a row) to multiples of its max |x| / steps."""
    blocks = x.unflatten(-1, (-1, block or x.shape[-1]))
    scale = blocks.abs().amax(-1, keepdim=True) / steps
    return ((blocks / scale).round().clamp(-128, 127) * scale).flatten(-2)
