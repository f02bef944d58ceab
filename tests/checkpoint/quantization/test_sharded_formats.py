"""Shards of a quantized checkpoint, put together, are its matrices to the last bit: as codes, and as numbers."""

import pytest
import torch
from code_sink import CodeSink
from descriptions import description_of
from held_weights import held_bytes as really_held
from isa_levels import native_levels
from quantized_llama import config_of, make_pair, opened
from test_formats import FORMATS, each_format

from weft.checkpoint.loader import load_weights
from weft.checkpoint.stored_codes import stored_codes
from weft.layers.context import LayerContext
from weft.layers.finishing import LayerFinisher
from weft.layers.layer import allocate
from weft.layers.shard import Shard
from weft.models.decoder import Decoder
from weft.models.sizes import held_bytes

COUNT = 2


def model_of(directory, index=None, **options):
    """The model without memory, and its spec. index: of a shard."""
    spec, _ = description_of(config_of(directory).model)
    shard = None if index is None else Shard(index, COUNT)
    context = LayerContext(torch.float32, shard=shard, **options)
    return Decoder(spec, tied=spec.head.tied, context=context), spec


def load(directory, index=None):
    """(homes, {home: numbers}, {home: codes}) of a model, or one shard of it."""
    model, spec = model_of(directory, index)
    allocate(model, "cpu")
    homes, sink = model.homes(), CodeSink()
    load_weights(homes, opened(directory), spec.names, use_tqdm=False, sink=sink)
    numbers = {name: sink.codes[name].dequantize() if name in sink.codes else home.view for name, home in homes.items()}
    return homes, numbers, sink.codes


@each_format
def test_codes_and_numbers_of_the_shards_are_those_of_the_whole(tmp_path, settings, quantize):
    directory = make_pair(tmp_path, settings, quantize).quantized
    _, whole, codes = load(directory)
    shards = [load(directory, index) for index in range(COUNT)]

    for name, tensor in whole.items():
        together = torch.full(tensor.shape, torch.nan)
        for homes, numbers, _ in shards:
            homes[name].cut(together).copy_(numbers[name])
        assert torch.equal(together, tensor), name
    assert all(part.keys() == codes.keys() for _, _, part in shards)          # no format is given up for a cut
    for name, weight in codes.items():
        assert sum(part[name].codes.numel() for _, _, part in shards) == weight.codes.numel(), name


@pytest.mark.parametrize("name", ["gptq 4 bits", "gptq asymmetric", "awq", "compressed-tensors w8a8", "fp8",
                                  "compressed-tensors int8 weights, a scale for each row"])
@pytest.mark.parametrize("cpu_isa", ["reference", *native_levels()[:1]])
def test_the_bytes_of_a_shard_are_known_from_headers(tmp_path, name, cpu_isa):
    directory = make_pair(tmp_path, *FORMATS[name]).quantized
    for index in range(COUNT):
        model, spec = model_of(directory, index, isa=cpu_isa)
        checkpoint = opened(directory)
        planned = held_bytes(model, stored_codes(checkpoint, spec.names))

        allocate(model, "cpu")
        finisher = LayerFinisher(model, model.homes())
        load_weights(model.homes(), checkpoint, spec.names, use_tqdm=False, sink=finisher)
        finisher.finish()

        assert planned == pytest.approx(really_held(model), rel=0.02)
