"""What a loaded model's weights really take, beside what was planned for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from weft import LLM
from weft.layers.public.loaded_weight import LoadedWeight
from weft.layers.scratch import Scratch

_CACHES = ("k_cache", "v_cache", "conv_states", "scan_states")


def held_bytes(model: Any) -> int:
    """Bytes of all memory that tensors reached from a model have, without its caches and buffers."""
    storages, left = {}, [model]
    seen: dict[int, Any] = {}                                  # keeps what it has seen: an id is free with its object
    while left:
        value = left.pop()
        if id(value) in seen or isinstance(value, str | int | float | type | Scratch):
            continue
        seen[id(value)] = value
        if isinstance(value, LoadedWeight):
            left.append(vars(value)["_read"])                  # it has no memory of its own
        elif isinstance(value, Tensor):
            if value.device.type != "meta":
                storages[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        elif isinstance(value, dict):
            left += [entry for key, entry in value.items() if key not in _CACHES]
        elif isinstance(value, list | tuple | set):
            left += value
        elif type(value).__module__.startswith("weft.") or hasattr(value, "_modules"):
            left.append(getattr(value, "__dict__", {}))
        elif hasattr(value, "func"):                           # functools.partial
            left += [value.func, *value.args, *value.keywords.values()]
        elif hasattr(value, "__closure__"):
            left += [cell.cell_contents for cell in value.__closure__ or ()]
    return sum(storages.values())


def planned_and_held(path: Path, **options: Any) -> tuple[int, int]:
    """Bytes of weights: (planned, held)."""
    options = {"skip_tokenizer_init": True, "num_threads": 1, "use_tqdm_on_load": False, "max_model_len": 64,
               "kv_cache_memory_bytes": 1 << 22} | options
    with LLM(model=str(path), **options) as llm:
        return llm.collective_rpc("memory_plan")[0]["weight_bytes"], llm.apply_model(held_bytes)[0]
