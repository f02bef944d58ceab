"""`with_media`: bytes of a step of a model that takes media: the rows that are kept, and the encoder at work.

The config of the model tells the sizes. What lies between the encoder's operators is an estimate, like that of a step
of foreign code.
"""

from __future__ import annotations

from typing import Any

from weft.models.engine_model import MediaEncoder

_BUFFERS = 5             # float32 rows of its widest product that a layer of an encoder is taken to hold at one time
_AUDIO_FRAMES = 4        # of a row: Voxtral joins four; Whisper's first convolution has four for two that are joined


def with_media(step_bytes: int, media: MediaEncoder | None, hf_config: Any, *, num_rows: int, row_bytes: int) -> int:
    """`step_bytes` of the model's own step, or the encoder's largest call if that is more; and the kept rows besides.

    num_rows: that a step encodes and the engine keeps; one item of more rows takes more. row_bytes: of one row.
    """
    if media is None:
        return step_bytes
    deeper = getattr(getattr(hf_config, "vision_config", None), "deepstack_visual_indexes", None) or ()
    kept = num_rows * (1 + len(deeper)) * row_bytes if media.makes_rows else 0      # DeepStack has rows for more layers
    return kept + max([step_bytes, *(_encoder_bytes(hf_config, kind, num_rows) for kind in media.kinds)])


def _encoder_bytes(hf_config: Any, kind: str, num_rows: int) -> int:
    """Of what an encoder has for an item of `num_rows` rows, or for one tile of an image or one window of audio."""
    tower = getattr(hf_config, "audio_config" if kind == "audio" else "vision_config", None)
    width = _number(tower, "intermediate_size", "encoder_ffn_dim") or 4 * _number(tower, "embed_dim", "hidden_size")
    if kind == "audio":
        inputs = max(_AUDIO_FRAMES * num_rows, _number(tower, "max_source_positions"))
    else:
        inputs = max(round(_patches_of_row(hf_config, tower) * num_rows), _patches_of_tile(tower))
    return _BUFFERS * 4 * inputs * width


def _patches_of_row(hf_config: Any, tower: Any) -> float:
    """Patches of an image that become one row: Qwen-VL's, Idefics 3's and InternVL's keys."""
    side = _number(tower, "spatial_merge_size") or _number(hf_config, "spatial_merge_size", "scale_factor") or 1
    return max(side, 1 / (_number(hf_config, "downsample_ratio") or 1)) ** 2


def _patches_of_tile(tower: Any) -> int:
    """Patches of the size that an image, or a tile of one, is brought to; 0: images keep their sizes."""
    sizes = [getattr(tower, name, None) for name in ("image_size", "patch_size")]
    height, patch = (min(size) if isinstance(size, list | tuple) else size or 0 for size in sizes)
    return (height // patch) ** 2 if height and patch else 0


def _number(config: Any, *names: str) -> Any:
    """The first of these keys that a config has as a number above 0; 0: it has none of them."""
    return next((value for name in names if isinstance(value := getattr(config, name, None), int | float)
                 and value > 0), 0)
