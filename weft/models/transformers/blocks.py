"""Decoder layers of Transformers as weft's Blocks, where their structure is one that a BlockSpec has.

Recognised is what a layer consists of: projections and norms of attention, a gated MLP or experts with a router, norms
around both. Whether the layer computes what such parts compute is not read from its code: `check.py` compares the
numbers after loading.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from weft.architectures.attention_spec import AttentionSpec, QKNorm
from weft.architectures.ffn_spec import Activation, MLPSpec, MoESpec
from weft.architectures.norm_spec import RMSNorm
from weft.architectures.position_spec import Causal, Rope, SlidingWindow
from weft.architectures.spec import BlockSpec
from weft.cache.masks import CAUSAL
from weft.layers.context import LayerContext
from weft.layers.layer import Layer
from weft.models.decoder import Block
from weft.models.transformers.wiring import NotWiredError, Site

_PROJECTIONS = {"q_proj": "q", "k_proj": "k", "v_proj": "v", "o_proj": "o"}
_MLP = {"gate_proj": "gate", "up_proj": "up", "down_proj": "down"}
# Names of a layer's norms -> where they are in a block. The first set that equals the layer's is taken.
_NORMS: tuple[dict[str, str], ...] = (
    {"input_layernorm": "mixer_norm", "post_attention_layernorm": "ffn_norm"},
    {"input_layernorm": "mixer_norm", "post_attention_layernorm": "mixer_post_norm",
     "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "ffn_post_norm"},
    {"post_attention_layernorm": "mixer_post_norm", "post_feedforward_layernorm": "ffn_post_norm"},
)
_ACTS: dict[str, Activation] = {
    "silu": "silu", "swish": "silu", "gelu": "gelu", "gelu_pytorch_tanh": "gelu_pytorch_tanh", "gelu_new": "gelu_new",
    "relu": "relu"}


def layers_path(sites: Sequence[Site]) -> str:
    """The name of the ModuleList whose members are the decoder layers. NotWiredError when there is no such one."""
    paths = [site.name.split(".") for site in sites]
    for depth in range(1, len(paths[0]) - 1):
        if all(path[:depth] == paths[0][:depth] and path[depth] == str(i) for i, path in enumerate(paths)):
            return ".".join(paths[0][:depth])
    raise NotWiredError("its layers are not one list, with one attention module each")


def block_spec(layer: nn.Module, site: Site, config: Any, rotary_dim: int, dtype: torch.dtype) -> BlockSpec:
    """The parts of a decoder layer. NotWiredError names what weft has no part for."""
    if site.mask != CAUSAL or site.sinks is not None or site.value_dim != site.head_dim:
        raise NotWiredError("attention with another mask, with sinks, or with value heads of another size")
    mixer = layer.get_submodule(site.name.rpartition(".")[2])
    norms, rest = _others(layer, mixer)
    places = next((places for places in _NORMS if places.keys() == norms.keys()), None)
    if places is None or len(rest) != 1:
        raise NotWiredError(f"a layer of {', '.join((*norms, *rest))}")
    (ffn,) = rest.values()
    absent: dict[str, Any] = dict.fromkeys({"mixer_norm", "ffn_norm"} - set(places.values()))
    return BlockSpec(
        mixer=_attention_spec(mixer, site, rotary_dim, dtype), ffn=_ffn_spec(ffn, config),
        **{place: _norm_spec(norms[name], dtype) for name, place in places.items()},
        **absent)


def _others(layer: nn.Module, mixer: nn.Module) -> tuple[dict[str, nn.Module], dict[str, nn.Module]]:
    """(norms, all else) of a layer's modules that have weights, without its attention."""
    found = {name: child for name, child in layer.named_children() if child is not mixer and _has_weights(child)}
    norms = {name: child for name, child in found.items() if _is_vector(child)}
    return norms, {name: child for name, child in found.items() if name not in norms}


def _attention_spec(module: nn.Module, site: Site, rotary_dim: int, dtype: torch.dtype) -> AttentionSpec:
    children = {name: child for name, child in module.named_children() if _has_weights(child)}
    linears = [children.pop(name, None) for name in _PROJECTIONS]
    if not all(type(linear) is nn.Linear for linear in linears) or list(module.parameters(recurse=False)):
        raise NotWiredError(f"{type(module).__name__} has not q_proj, k_proj, v_proj and o_proj alone")
    biases = [cast("nn.Linear", linear).bias is not None for linear in linears]
    if len(set(biases[:3])) > 1:
        raise NotWiredError("biases of some of q, k and v")
    qk_norm = None
    if children:
        if children.keys() != {"q_norm", "k_norm"}:
            raise NotWiredError(f"attention with {', '.join(children)}")
        norm = children["q_norm"]
        scopes: dict[int, Literal["head", "all"]] = {site.head_dim: "head", site.num_heads * site.head_dim: "all"}
        scope = scopes.get(_width(norm))
        if scope is None:
            raise NotWiredError("norms of q and k of another size")
        qk_norm = QKNorm(norm=_norm_spec(norm, dtype), scope=scope)
    return AttentionSpec(
        num_heads=site.num_heads, num_kv_heads=site.num_kv_heads, head_dim=site.head_dim, scale=site.scale,
        positions=Rope(theta=1.0, rotary_dim=rotary_dim),          # the angles are the model's own
        mask=Causal() if site.window is None else SlidingWindow(window=site.window), qkv_bias=biases[0],
        out_bias=biases[3], qk_norm=qk_norm, softcap=site.softcap)


def _ffn_spec(module: nn.Module, config: Any) -> MLPSpec | MoESpec:
    act = _ACTS.get(getattr(config, "hidden_activation", None) or getattr(config, "hidden_act", None) or "")
    children = {name: child for name, child in module.named_children() if _has_weights(child)}
    if act is None:
        raise NotWiredError("an activation that weft has not")
    if children.keys() == _MLP.keys() and all(type(child) is nn.Linear for child in children.values()):
        linears = cast("dict[str, nn.Linear]", children)
        if len({linear.bias is not None for linear in linears.values()}) > 1:
            raise NotWiredError("biases of some of an MLP's matrices")
        return MLPSpec(intermediate_size=linears["down_proj"].in_features, act=act, gated=True,
                       bias=linears["up_proj"].bias is not None)
    if children.keys() != {"gate", "experts"}:
        raise NotWiredError(f"a feed-forward part of {', '.join(children)}")
    router, experts = children["gate"], children["experts"]
    shapes = {name: tuple(p.shape) for name, p in experts.named_parameters()}
    count, width = shapes.get("gate_up_proj", (0, 0, 0))[:2]
    if shapes.keys() != {"gate_up_proj", "down_proj"} or [tuple(p.shape) for p in router.parameters()] != [
            (count, shapes["gate_up_proj"][2])]:
        raise NotWiredError("experts or a router of another form")
    top_k = getattr(router, "top_k", None) or getattr(module, "top_k", None)
    renormalize = getattr(router, "norm_topk_prob", getattr(config, "norm_topk_prob", True))
    return MoESpec(num_experts=count, num_experts_per_token=int(top_k or 0), renormalize=bool(renormalize),
                   expert=MLPSpec(intermediate_size=width // 2, act=act, gated=True))


def _norm_spec(module: nn.Module, dtype: torch.dtype) -> RMSNorm:
    """The formula of an RMSNorm module, found by comparing numbers. NotWiredError: it is none of weft's."""
    eps = next((value for name in ("variance_epsilon", "eps", "epsilon")
                if isinstance(value := getattr(module, name, None), float)), None)
    if eps is None:
        raise NotWiredError(f"{type(module).__name__}, a norm without a known epsilon")
    calls = vars(module).get("weft_calls")                    # noted by `wiring.py`; they hold the whole model
    trial = copy.deepcopy(module, {} if calls is None else {id(calls): []}).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, _width(module), generator=generator)
    for parameter in trial.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2 + 0.5
    weight = next(trial.parameters()).detach()
    found = trial(x)
    for offset in (0.0, 1.0):
        normed = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
        if torch.allclose(found, normed * (weight + offset), atol=1e-4, rtol=1e-4):
            return RMSNorm(eps=eps, offset=offset, cast_before_weight=offset == 0.0)
    raise NotWiredError(f"{type(module).__name__}, which is no RMSNorm that weft has")


def _has_weights(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _is_vector(module: nn.Module) -> bool:
    return [p.dim() for p in module.parameters()] == [1]


def _width(module: nn.Module) -> int:
    return next(module.parameters()).shape[0]


def make_blocks(model: nn.Module, sites: Sequence[Site], config: Any, rotary_dim: int, dtype: torch.dtype,
                context: LayerContext) -> list[Block]:
    """The decoder layers of a model, without memory, as Blocks without memory. NotWiredError as `block_spec`."""
    layers = cast("Iterable[nn.Module]", model.get_submodule(layers_path(sites)))
    specs = [block_spec(layer, site, config, rotary_dim, dtype) for layer, site in zip(layers, sites, strict=True)]
    out = cast("nn.Linear", model.get_submodule(f"{sites[0].name}.o_proj"))
    return [Block(spec, out.out_features, context=context) for spec in specs]


@torch.no_grad()
def fill_block(block: Block, layer: nn.Module, mixer: str, device: str) -> None:
    """Give a Block memory and the numbers of a layer, whose own are dropped. mixer: name of its attention module."""
    tensors = dict(layer.named_parameters())
    norms, rest = _others(layer, layer.get_submodule(mixer))
    places = next(places for places in _NORMS if places.keys() == norms.keys())
    (ffn,) = rest
    names = {f"{mixer}.{name}": f"mixer.{part}" for name, part in _PROJECTIONS.items()}
    names |= {f"{mixer}.{name}": f"mixer.{name}" for name in ("q_norm", "k_norm")} | places
    names |= {f"{ffn}.{name}": f"ffn.{part}" for name, part in _MLP.items()} | {f"{ffn}.gate": "ffn.router"}
    for module in block.modules():
        if isinstance(module, Layer):
            module.allocate(device)
    homes = _homes(block)
    for name, tensor in tensors.items():
        stem, _, kind = name.rpartition(".")
        if kind in ("gate_up_proj", "down_proj"):
            _fill_experts(homes, kind, tensor)
        else:
            homes.pop(f"{names[stem]}.{kind}").fill(tensor)
    assert not homes, f"nothing fills {', '.join(homes)}"
    for parameter in layer.parameters():
        parameter.data = torch.empty(0)
    for module in block.modules():
        if hasattr(module, "finish_loading"):
            cast("Any", module).finish_loading()
            cast("Any", module).bind_children()


def _homes(block: Block) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, child in block.named_children():
        found |= {f"{name}.{part}": home for part, home in cast("Any", child).homes().items()}
    return found


def _fill_experts(homes: dict[str, Any], kind: str, tensor: Tensor) -> None:
    for expert, matrix in enumerate(tensor):
        parts: Mapping[str, Tensor] = {"down": matrix}
        if kind == "gate_up_proj":
            parts = dict(zip(("gate", "up"), matrix.chunk(2), strict=True))
        for part, rows in parts.items():
            homes.pop(f"ffn.experts.{expert}.{part}.weight").fill(rows)
