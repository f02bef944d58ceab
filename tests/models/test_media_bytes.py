"""The memory plan has the rows of media that are kept, and the encoder's largest call, as its peak is measured."""

from types import SimpleNamespace

import pytest
import torch
import transformers
from tiny_vision import KINDS, TEXT
from torch.profiler import profile

from weft.models.media_bytes import with_media

ROWS, ROW_BYTES = 100, 64 * 4
_CLIP = {"model_type": "clip_vision_model", "num_hidden_layers": 8, "hidden_size": 64, "intermediate_size": 256,
         "image_size": 40, "patch_size": 4, "num_attention_heads": 4}
_QWEN = {"patch_size": 4, "num_heads": 4, "depth": 3}
_QWEN_IMAGE = {"pixel_values": (400, 3 * 2 * 4 * 4), "image_grid_thw": torch.tensor([[1, 20, 20]])}
# name -> (class without its ending, values of its config, an image of ROWS rows: tensors, or shapes of random ones).
IMAGES = {
    "qwen2-vl": ("Qwen2VL", {"text_config": KINDS["qwen2-vl"][1]["text_config"], "vision_config": _QWEN | {
        "embed_dim": 64, "hidden_size": 64}}, _QWEN_IMAGE),
    "qwen3-vl": ("Qwen3VL", {"text_config": KINDS["qwen3-vl"][1]["text_config"], "vision_config": _QWEN | {
        "hidden_size": 64, "intermediate_size": 256, "out_hidden_size": 64, "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0, 1]}}, _QWEN_IMAGE),
    "llava": ("Llava", {"text_config": TEXT | {"model_type": "llama"}, "vision_config": _CLIP,
                        "vision_feature_layer": -2}, {"pixel_values": (1, 3, 40, 40)}),
    "smolvlm": ("SmolVLM", {"text_config": TEXT | {"model_type": "llama"}, "scale_factor": 2, "vision_config": {
        name: value for name, value in _CLIP.items() if name != "model_type"}}, {"pixel_values": (1, 4, 3, 40, 40)}),
}


def media(**more):
    return SimpleNamespace(**{"kinds": ("image",), "makes_rows": True} | more)


@pytest.fixture(params=list(IMAGES))
def image(request):
    """(config, bytes that the encoder holds at most while it works on an image of ROWS rows)."""
    stem, values, given = IMAGES[request.param]
    cls = getattr(transformers, f"{stem}ForConditionalGeneration")
    config = cls.config_class(**values)
    body = cls._from_config(config, attn_implementation="sdpa").eval().model
    tensors = {name: x if isinstance(x, torch.Tensor) else torch.randn(x) for name, x in given.items()}
    if stem == "Llava":
        tensors["vision_feature_layer"] = config.vision_feature_layer
    with torch.inference_mode(), profile(profile_memory=True) as profiled:
        body.get_image_features(**tensors)
    now = most = 0
    for event in profiled.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return config, most


def test_the_encoders_peak_is_within_what_is_planned_for_it(image):
    config, peak = image

    planned = with_media(0, media(makes_rows=False), config, num_rows=ROWS, row_bytes=ROW_BYTES)

    assert peak <= planned <= 3 * peak


def test_the_rows_that_are_kept_count_beside_a_step_and_those_of_deeper_layers_too():
    plain, deep = (getattr(transformers, f"{KINDS[name][0]}Config")(**KINDS[name][1]) for name in
                   ("qwen2-vl", "qwen3-vl"))
    found = [with_media(10**9, media(), config, num_rows=ROWS, row_bytes=ROW_BYTES) for config in (plain, deep)]

    assert found == [10**9 + ROWS * ROW_BYTES, 10**9 + 3 * ROWS * ROW_BYTES]
    assert with_media(10**9, None, plain, num_rows=ROWS, row_bytes=ROW_BYTES) == 10**9


def test_audio_takes_a_window_of_frames_at_least():
    config = transformers.Qwen2AudioConfig(text_config=TEXT | {"model_type": "qwen2"}, audio_config={
        "encoder_ffn_dim": 48, "d_model": 32, "max_source_positions": 1500})

    found = [with_media(0, media(kinds=("audio",), makes_rows=False), config, num_rows=num, row_bytes=ROW_BYTES)
             for num in (1, 375, 750)]

    assert found[0] == found[1] == found[2] / 2
