"""Parameters of public layers: loaded by parts, readable afterwards, never changed behind the kernel's back."""

import copy
import io

import pytest
import torch
import torch.nn.functional as F
from public_layers import LAYERS, LEVELS, REFERENCE, WIDTH, contexts, finish, given, layers, loaded, made, numbers
from torch import nn

from weft.errors import CheckpointError, ConfigError
from weft.layers.context import LayerContext
from weft.layers.public import (
    QuantizationConfig,
    ReplicatedLinear,
    default_weight_loader,
)

# Reading

@contexts
@layers
def test_every_parameter_reads_as_what_was_loaded(context, name):
    layer = loaded(LAYERS[name], context)
    wanted = given(layer, context.dtype)

    for key, parameter in layer.named_parameters():
        value = wanted[key]
        assert isinstance(parameter, nn.Parameter) and parameter.weight_loader
        assert (parameter.shape, parameter.dtype, parameter.device.type) == (value.shape, context.dtype, "cpu")
        assert not parameter.is_meta and not parameter.requires_grad and parameter.is_contiguous()
        assert len(parameter) == len(value) and parameter.numel() == value.numel()
        for read in (lambda w: w.t(), lambda w: w.float(), lambda w: w[1:3], lambda w: w.data, lambda w: w.detach(),
                     lambda w: w + 1, lambda w: 1 - w, lambda w: w.view(-1), lambda w: w.cpu(), lambda w: w.clone(),
                     lambda w: torch.stack([w, w]), lambda w: torch.cat([w, w]), lambda w: w.sum(0)):
            assert torch.equal(read(parameter), read(value))
        assert torch.equal(parameter, value) and torch.allclose(parameter, value)
        assert parameter.tolist() == value.tolist() and parameter.float().numpy().tolist() == value.float().tolist()
    assert {key: torch.equal(value, wanted[key]) for key, value in layer.state_dict().items()} == dict.fromkeys(
        wanted, True)


@contexts
def test_torchs_functions_take_weights_and_give_plain_tensors(context):
    layer, norm = loaded(LAYERS["linear"], context), loaded(LAYERS["norm"], context)
    x = numbers((3, WIDTH), context.dtype)
    wanted = given(layer, context.dtype)

    out = F.linear(x, layer.weight, layer.bias)

    assert type(out) is torch.Tensor and torch.equal(out, F.linear(x, wanted["weight"], wanted["bias"]))
    assert torch.equal(x @ layer.weight.t(), x @ wanted["weight"].t())
    assert torch.equal(norm(layer.weight), norm(wanted["weight"]))           # a weight as a layer's input
    total = torch.zeros(10, WIDTH, dtype=context.dtype)
    total += layer.weight
    assert torch.equal(total, wanted["weight"])


@contexts
@layers
def test_weights_can_be_copied_and_pickled(context, name):
    layer = loaded(LAYERS[name], context)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)

    saved = torch.load(file, weights_only=True)

    for key, value in given(layer, context.dtype).items():
        parameter = getattr(layer, key)
        copied = copy.deepcopy(parameter)
        copied.data.add_(1)
        assert torch.equal(saved[key], value) and type(saved[key]) is torch.Tensor
        assert torch.equal(copied, value + 1) and torch.equal(parameter, value)


@pytest.mark.parametrize("quantization", ["int8", "int4", "w8a8"])
def test_a_layer_with_a_quant_config_is_quantized_and_its_weight_reads_as_what_the_product_uses(quantization):
    for level in LEVELS:
        context = LayerContext(torch.float32, isa=level, quantization=quantization)
        given_method, left_out = (
            loaded(lambda config=config: ReplicatedLinear(64, 32, bias=False, return_bias=False, quant_config=config),
                   context) for config in (QuantizationConfig(quantization), None))
        layer, x = given_method, torch.eye(64)

        assert torch.equal(left_out.weight, numbers((32, 64), torch.float32))
        torch.testing.assert_close(layer(x), layer.weight.t(), rtol=0, atol=1e-5)
        assert 0 < (layer.weight - numbers((32, 64), torch.float32)).abs().max() < 0.2


# Writing

WRITES = {
    "copy_": lambda w: w.copy_(torch.zeros(w.shape)),
    "fill by item": lambda w: w.__setitem__(0, 1.0),
    "+=": lambda w: w.__iadd__(1),
    "data": lambda w: setattr(w, "data", torch.zeros(w.shape)),
    "data.mul_": lambda w: w.data.mul_(2),
    "detach().zero_": lambda w: w.detach().zero_(),
    "a row": lambda w: w[0].fill_(1),
    "a view of a view": lambda w: w.view(-1)[1:].unsqueeze(0).normal_(),
    "init": lambda w: nn.init.normal_(w),
    "init ones": lambda w: nn.init.ones_(w),
    "out": lambda w: torch.add(torch.zeros(w.shape), 1, out=w),
    "inplace": lambda w: F.relu(w, inplace=True),
    "foreach": lambda w: torch._foreach_mul_([w], 2),
    "address": lambda w: w.data_ptr(),
}


@contexts
@layers
@pytest.mark.parametrize("write", WRITES)
def test_no_write_is_lost_or_half_done_it_is_refused_by_name(context, name, write):
    layer = loaded(LAYERS[name], context)

    with pytest.raises(RuntimeError, match=rf"{type(layer).__name__}.weight is read-only"):
        WRITES[write](layer.weight)

    assert torch.equal(layer.weight, given(layer, context.dtype)["weight"])


@contexts
@layers
def test_a_parameter_is_not_replaced_after_loading(context, name):
    layer = loaded(LAYERS[name], context)

    with pytest.raises(RuntimeError, match=r"\.weight cannot be replaced: its kernel has the numbers"):
        layer.weight = nn.Parameter(torch.zeros(layer.weight.shape))
    with pytest.raises(RuntimeError, match=r"read-only \(copy_\)"):
        layer.load_state_dict({key: torch.zeros_like(value) for key, value in layer.state_dict().items()})
    layer.requires_grad_(False)
    layer.zero_grad()


@contexts
def test_the_bias_that_is_left_out_of_a_product_is_given_back_and_cannot_be_changed(context):
    layer = loaded(lambda: ReplicatedLinear(WIDTH, 10, skip_bias_add=True), context)
    x, wanted = numbers((3, WIDTH), context.dtype), given(layer, context.dtype)

    out, bias = layer(x)

    assert torch.equal(bias, wanted["bias"]) and type(out + bias) is torch.Tensor
    with pytest.raises(RuntimeError, match="bias is read-only"):
        bias += out[0]
    assert torch.equal(layer(x)[0], out)


# Loading

@layers
def test_parameters_lie_on_meta_and_know_their_loader_from_the_constructor_on(name):
    layer = LAYERS[name]()

    for _, parameter in layer.named_parameters():
        assert parameter.is_meta and callable(parameter.weight_loader)
        with pytest.raises(CheckpointError, match="no memory to load into"):
            default_weight_loader(parameter, torch.zeros(parameter.shape))


@contexts
def test_who_holds_a_parameter_sees_it_get_memory_and_numbers(context):
    held = {}

    def make():
        layer = LAYERS["linear"]()
        held.update(layer.named_parameters())
        return layer

    layer = loaded(make, context)

    assert all(held[name] is parameter for name, parameter in layer.named_parameters())
    assert torch.equal(held["weight"], given(layer, context.dtype)["weight"])


def test_a_view_that_is_held_of_a_parameter_without_numbers_is_refused():
    class Transposed(nn.Module):
        def __init__(self):
            super().__init__()
            self.proj = ReplicatedLinear(WIDTH, 10)
            self.turned = self.proj.weight.t()

    with pytest.raises(ConfigError, match="expected no views of it elsewhere"):
        made(Transposed, REFERENCE)


@contexts
def test_parts_are_loaded_by_their_shard_ids_in_any_order_or_as_a_whole(context):
    whole = loaded(LAYERS["qkv"], context)
    layer, _ = made(LAYERS["qkv"], context)
    for parameter, value in ((layer.weight, whole.weight.clone()), (layer.bias, whole.bias.clone())):
        for part, rows in zip("vkq", reversed(value.split([32, 16, 16])), strict=True):
            assert layer.missing()
            parameter.weight_loader(parameter, rows, part)
    finish(layer)

    x = numbers((3, WIDTH), context.dtype)
    assert torch.equal(layer(x), whole(x)) and torch.equal(layer.weight, whole.weight)


@pytest.mark.parametrize(("name", "tensor", "part", "error", "text"), [
    ("qkv", torch.zeros(32, WIDTH), "o", ConfigError, r"weight shard = 'o': expected 'q', 'k', 'v'"),
    ("qkv", torch.zeros(32, WIDTH), 0, ConfigError, "weight shard = 0"),
    ("qkv", torch.zeros(32, WIDTH), "k", CheckpointError,
     r"QKVParallelLinear.k.weight: the checkpoint's tensor is \[32, 24\], the model has \[16, 24\]"),
    ("qkv", torch.zeros(32, WIDTH), None, ConfigError, r"\[32, 24\]: expected 64 rows, or a part's"),
    ("qkv", torch.zeros(()), None, ConfigError, r"weight = \[\]"),
    ("merged", torch.zeros(7, WIDTH), "q", ConfigError, "expected 0, 1"),
    ("linear", torch.zeros(10, WIDTH), "q", ConfigError, "it has no parts"),
    ("norm", torch.zeros(WIDTH), "q", ConfigError, "the weight has no parts"),
    ("norm", torch.zeros(1), None, CheckpointError, r"tensor is \[1\], the model has \[24\]"),
    ("embedding", torch.zeros(39, WIDTH), None, CheckpointError, r"\[39, 24\]"),
    ("linear", torch.zeros(10, WIDTH, dtype=torch.int8), None, CheckpointError, "int8"),
])
def test_a_tensor_or_shard_that_does_not_fit_is_refused_and_nothing_is_filled(name, tensor, part, error, text):
    layer, _ = made(LAYERS[name], REFERENCE)

    with pytest.raises(error, match=text):
        layer.weight.weight_loader(layer.weight, tensor, part)

    assert "weight" in layer.missing()


@layers
def test_loaded_twice_the_last_counts_and_after_the_kernel_took_it_none(name):
    layer, _ = made(LAYERS[name], REFERENCE)
    for value in (1.0, 2.0):
        for _, parameter in layer.named_parameters():
            parameter.weight_loader(parameter, torch.full(parameter.shape, value))
    finish(layer)

    assert (layer.weight == 2).all()
    with pytest.raises(CheckpointError, match="loaded again after its kernel took the numbers"):
        layer.weight.weight_loader(layer.weight, torch.zeros(layer.weight.shape))
