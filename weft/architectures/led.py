"""LED: BART whose encoder sees a window to both sides. No token has global attention, as in Transformers by default."""

from __future__ import annotations

from weft.architectures.bart_parts import bart_block, bart_model, bart_names
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import DecoderSpec, LearnedPositions
from weft.cache.masks import Bidirectional

_SELF = "encoder.layers.{i}.self_attn."
_OWN = {f"{_SELF}longformer_self_attn.{name}": f"blocks.{{i}}.mixer.{name[0]}" for name in ("query", "key", "value")}
_NAMES = bart_names(prefix="led.", encoder=_OWN | {f"{_SELF}output": "blocks.{i}.mixer.o"},
                    ignored=tuple(f"{_SELF}longformer_self_attn.{name}_global" for name in ("query", "key", "value")))


@architecture("LEDForConditionalGeneration")
def led(c: ConfigReader) -> DecoderSpec:
    """LED. Source: arXiv:2004.05150; config.json of allenai/led-base-16384."""
    layers = c.positive("encoder_layers")
    given = c.value("attention_window")
    windows = c.list("attention_window") if isinstance(given, list | tuple) else [
        c.positive("attention_window", default=512)] * layers
    for window in windows:
        if not isinstance(window, int) or window < 2 or window % 2:
            raise c.error("attention_window", given, "even numbers of at least 2, one for each encoder layer")
    if len(windows) != layers:
        raise c.error("attention_window", given, f"{layers} numbers, one for each encoder layer")
    sizes = {side: c.positive(f"max_{side}_position_embeddings", default=count)
             for side, count in (("encoder", 16384), ("decoder", 1024))}
    return bart_model(c, _NAMES, lambda side: LearnedPositions(num_positions=sizes[side]), encoder_blocks=[
        bart_block(c, "encoder", is_pre_norm=False, mask=Bidirectional(radius=window // 2)) for window in windows])
