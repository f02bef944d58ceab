"""One PyTorch file (`torch.save` of a state dict), read with `weights_only`, so that no code in the file runs."""

from __future__ import annotations

import pickle
import sys
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path

import torch
from torch import Tensor

from weft.checkpoint.tensor_info import TensorInfo
from weft.errors import CheckpointError

_AGAIN = "Download it again, or take the safetensors files of the model."


class TorchShard:
    """A file of tensors. CheckpointError when the file is missing, broken, or holds anything but tensors."""

    def __init__(self, file: Path) -> None:
        self.file = file
        if not file.is_file():
            raise CheckpointError(f"{file}: {'not a file' if file.exists() else 'the file is missing'}.")
        if file.stat().st_size == 0:
            raise CheckpointError(f"{file}: the file is empty. {_AGAIN}")
        self._can_map = _can_map(file)
        self.tensors = {name: TensorInfo(name, tuple(tensor.shape), tensor.dtype, file)
                        for name, tensor in self._load().items()}

    def is_mapped(self, name: str) -> bool:
        """False for all tensors of a file that cannot be memory-mapped."""
        return self._can_map

    def read(self, names: Collection[str]) -> Iterator[tuple[str, Tensor]]:
        """These tensors in the order of the file."""
        for name, tensor in self._load().items():
            if name in names:
                yield name, tensor

    def _load(self) -> dict[str, Tensor]:
        try:
            state = torch.load(self.file, map_location="cpu", weights_only=True, mmap=self._can_map)
        except pickle.UnpicklingError as error:
            raise CheckpointError(f"{self.file}: is broken or holds more than tensors, which weft does not run. "
                                  f"{_AGAIN} ({str(error).splitlines()[0]})") from error
        except Exception as error:      # on a broken file torch's unpickler may raise any exception
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise CheckpointError(f"{self.file}: cannot be read as a PyTorch file: {first} {_AGAIN}") from error
        if not isinstance(state, dict) or not all(isinstance(value, Tensor) and isinstance(name, str)
                                                  for name, value in state.items()):
            raise CheckpointError(f"{self.file}: expected a dictionary of tensors, found {_kind(state)}. Save "
                                  "model.state_dict() alone.")
        odd = [name for name, tensor in state.items() if tensor.layout is not torch.strided or tensor.is_quantized]
        if odd:
            raise CheckpointError(f"{self.file}: {odd[0]!r} is a sparse or quantized tensor, which weft does not read.")
        return state


def _can_map(file: Path) -> bool:
    """Whether the file can be memory-mapped: not if it is from torch before 1.6, or of another byte order, because
    loading would modify it.
    """
    try:
        if not zipfile.is_zipfile(file):
            return False
        with zipfile.ZipFile(file) as archive:
            orders = [archive.read(name) for name in archive.namelist() if name.endswith("/byteorder")]
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise CheckpointError(f"{file}: cannot be read as a PyTorch file: {error}. {_AGAIN}") from error
    return all(order.decode("ascii", "replace") == sys.byteorder for order in orders)


def _kind(state: object) -> str:
    if isinstance(state, dict):
        return f"a dictionary with {', '.join(f'{k!r}: {type(v).__name__}' for k, v in list(state.items())[:4])}"
    return f"a {type(state).__name__}"
