"""Prompts given as embedding rows: reads and checks a tensor, and converts it to the engine's message form.

A tensor may come as base64 text of a `torch.save` file, over HTTP and untrusted: the size is checked before unpacking,
and `weights_only` loading runs no code. This is the only frontend module that imports torch at once; `inputs.py`
imports it only for a prompt with embeddings.
"""

from __future__ import annotations

import base64
import binascii
import io
import zipfile
from typing import Any

import torch
from torch import Tensor

from weft.engine.process.messages import WireTensor
from weft.engine.process.wire_tensor import to_wire
from weft.errors import RequestError

FIELD = "prompt_embeds"
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_ARCHIVE_BYTES = 1 << 20      # bytes that a torch.save file may have besides the numbers


def read_prompt_embeds(value: Any, *, size: int, dtype: str, max_num_tokens: int) -> WireTensor:
    """`value`, a tensor or its base64 text, as rows [T, size] of finite numbers in the model's `dtype`.

    RequestError for prompt_embeds if `value` is anything else. max_num_tokens: the most rows (T).
    """
    if isinstance(value, str):
        value = _decode(value, max_bytes=max_num_tokens * size * 4 + _ARCHIVE_BYTES)
    _check(value, size, max_num_tokens)
    rows = value.detach().to(device="cpu", dtype=getattr(torch, dtype))
    if not rows.isfinite().all():
        row = int((~rows.isfinite()).any(dim=1).nonzero()[0])
        raise RequestError(f"{FIELD}[{row}]", _words(value), expected=f"finite numbers in {dtype}, the model's dtype",
                           hint="There is a NaN or an infinity in this row.")
    return to_wire(rows)


def _check(value: Any, size: int, max_num_tokens: int) -> None:
    wanted = f"a tensor [tokens, {size}] of float32, float16 or bfloat16"
    if not isinstance(value, Tensor):
        raise RequestError(FIELD, type(value).__name__, expected=wanted)
    if value.layout is not torch.strided or value.is_quantized or value.device.type == "meta":
        raise RequestError(FIELD, _words(value), expected=f"{wanted}, dense and with its numbers")
    if value.dim() != 2:
        raise RequestError(FIELD, _words(value), expected=wanted, hint="One prompt has two dimensions: no batch.")
    if value.shape[1] != size or value.dtype not in DTYPES:
        raise RequestError(FIELD, _words(value), expected=wanted)
    if not 0 < value.shape[0] <= max_num_tokens:
        raise RequestError(FIELD, _words(value), expected=f"1 to {max_num_tokens} rows, one for each token")


def _words(tensor: Tensor) -> str:
    return f"{list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _decode(text: str, max_bytes: int) -> Any:
    """The object in a base64 `torch.save` file of at most `max_bytes` bytes, packed and unpacked."""
    if len(text) > max_bytes * 4 // 3 + 4:
        raise RequestError(FIELD, f"{len(text)} characters", expected=f"base64 text of up to {max_bytes} bytes",
                           hint="That is what the longest prompt takes.")
    wanted = "base64 text of a tensor that torch.save wrote"
    try:
        data = base64.b64decode(text, validate=True)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            num_bytes = sum(entry.file_size for entry in archive.infolist())
    except (binascii.Error, ValueError, zipfile.BadZipFile, NotImplementedError, OSError) as error:
        raise RequestError(FIELD, f"{len(text)} characters", expected=wanted,
                           hint=f"{type(error).__name__}: {error}") from error
    if num_bytes > max_bytes:
        raise RequestError(FIELD, f"{num_bytes} bytes unpacked", expected=f"up to {max_bytes} bytes")
    try:
        value = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
        is_dense = isinstance(value, Tensor) and value.layout is torch.strided
        if is_dense and value.untyped_storage().nbytes() > num_bytes:      # torch allocates the size that the file says
            raise ValueError("the tensor is larger than the numbers in it")
        return value
    except Exception as error:      # torch raises many kinds of errors for a broken file
        reason = str(error).partition("\n")[0][:200]
        raise RequestError(FIELD, f"{len(text)} characters", expected=wanted,
                           hint=f"{type(error).__name__}: {reason}") from error
