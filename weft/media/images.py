"""`read_image`: an image as a user's Python code has it, as a PIL image in RGB.

Pillow is an extra, `weft[vision]`: it is imported with the first image.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from weft.errors import NotBuiltError, RequestError

_WANTED = "a PIL image, an array [height, width, 3], or one [3, height, width]"


def pillow(field: str) -> Any:
    """The module PIL.Image. NotBuiltError that names the extra when it is not installed."""
    try:
        from PIL import Image
    except ImportError as error:
        raise NotBuiltError(field, "an image", expected="a text prompt without Pillow",
                            hint='Install the extra: pip install "weft[vision]".') from error
    return Image


def read_image(value: Any, *, field: str, max_pixels: int) -> Any:
    """`value` as an image in RGB. RequestError, which names `field`, for anything else or too many pixels.

    value: a PIL image; or a numpy array or tensor of uint8 (0 to 255) or floats (0 to 1), gray or with channels.
    """
    image_module = pillow(field)
    image = value if isinstance(value, image_module.Image) else _from_array(value, field, image_module)
    width, height = image.size
    if width < 1 or height < 1 or width * height > max_pixels:
        raise RequestError(field, f"{width} x {height} pixels", expected=f"1 to {max_pixels} pixels")
    try:
        return _on_white(image, image_module) if image.mode in ("RGBA", "LA", "PA") or (
            image.mode == "P" and "transparency" in image.info) else image.convert("RGB")
    except Exception as error:      # Pillow decodes when it is asked for pixels, and raises many kinds of errors
        raise RequestError(field, "an image", expected="one that Pillow can decode") from error


def _on_white(image: Any, image_module: Any) -> Any:
    """Transparent pixels on white, as vLLM shows them."""
    image = image.convert("RGBA")
    ground = image_module.new("RGBA", image.size, (255, 255, 255, 255))
    ground.alpha_composite(image)
    return ground.convert("RGB")


def _from_array(value: Any, field: str, image_module: Any) -> Any:
    if not isinstance(value, np.ndarray) and hasattr(value, "detach"):
        value = value.detach().cpu().float().numpy() if value.is_floating_point() else value.detach().cpu().numpy()
    if not isinstance(value, np.ndarray):
        raise RequestError(field, type(value).__name__, expected=_WANTED)
    if value.ndim == 2:
        value = value[..., None]
    if value.ndim != 3 or 0 in value.shape:
        raise RequestError(field, f"an array {list(value.shape)}", expected=_WANTED)
    if value.shape[-1] not in (1, 3, 4) and value.shape[0] in (1, 3, 4):
        value = value.transpose(1, 2, 0)
    if value.shape[-1] not in (1, 3, 4):
        raise RequestError(field, f"an array {list(value.shape)}", expected=_WANTED)
    if np.issubdtype(value.dtype, np.floating):
        if not np.isfinite(value).all() or value.min() < 0 or value.max() > 1:
            raise RequestError(field, f"floats from {value.min():g} to {value.max():g}", expected="floats from 0 to 1")
        value = (value * 255).round().astype(np.uint8)
    if value.dtype != np.uint8:
        raise RequestError(field, f"an array of {value.dtype}", expected="uint8 from 0 to 255, or floats from 0 to 1")
    value = np.ascontiguousarray(value[..., 0] if value.shape[-1] == 1 else value)
    return image_module.fromarray(value)
