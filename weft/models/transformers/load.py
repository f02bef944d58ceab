"""`load_model`: a model of Transformers with its weights, by Transformers' own loading, which knows all layouts."""

from __future__ import annotations

import logging
from typing import Any

import torch

from weft.checkpoint.dummy import fill_dummy
from weft.checkpoint.reader import Checkpoint
from weft.errors import CheckpointError

logger = logging.getLogger("weft")

_SHOWN = 8


def load_model(cls: Any, hf_config: Any, checkpoint: Checkpoint, path: str, dtype: torch.dtype, *, load_format: str,
               use_tqdm: bool) -> Any:
    """The model, in `dtype`. CheckpointError for parameters that no tensor filled, or tensors of another shape."""
    keywords: dict[str, Any] = {"attn_implementation": "eager"} if cls._can_set_attn_implementation() else {}
    if cls._can_set_experts_implementation():
        keywords["experts_implementation"] = "eager"
    if checkpoint.is_dummy:
        model = cls._from_config(hf_config, dtype=dtype, **keywords)
        fill_dummy({name: parameter.data for name, parameter in model.named_parameters()})
        return model.eval()
    is_safe = {"safetensors": True, "pt": False}.get(load_format)
    _show_progress(use_tqdm)
    try:
        model, info = cls.from_pretrained(path, config=hf_config, dtype=dtype, local_files_only=True,
                                          use_safetensors=is_safe, output_loading_info=True, **keywords)
    except (Exception, SystemExit) as error:
        raise CheckpointError(f"{path}: Transformers cannot load {cls.__name__} from it: {type(error).__name__}: "
                              f"{error}") from error
    finally:
        _show_progress(True)
    _check(cls.__name__, path, info)
    return model.eval()


def _check(name: str, path: str, info: dict[str, Any]) -> None:
    faults = {"parameters that no tensor fills": info.get("missing_keys"),
              "tensors of another shape": info.get("mismatched_keys"),
              "errors": info.get("error_msgs")}
    lines = [f"{what}: {_list(found)}" for what, found in faults.items() if found]
    if lines:
        raise CheckpointError(f"{path} does not fit {name}: " + "; ".join(lines))
    if info.get("unexpected_keys"):
        logger.warning("%s: %s has no use for the tensors %s", path, name, _list(info["unexpected_keys"]))


def _list(names: Any) -> str:
    found = sorted(map(str, names))
    return ", ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")


def _show_progress(shows: bool) -> None:
    from transformers.utils.logging import disable_progress_bar, enable_progress_bar

    (enable_progress_bar if shows else disable_progress_bar)()
