"""Every family's shards, loaded apart and put together, are the whole model, to the last bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from family_sizes import sizes_of
from held_weights import held_bytes as really_held
from isa_levels import native_levels
from safetensors.torch import save_file
from torch import Tensor

from weft.architectures.names import ChannelKernels, NameMap, Stacked
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import families, names_of
from weft.architectures.sample import SAMPLE
from weft.architectures.spec import ModelSpec
from weft.checkpoint.loader import load_weights
from weft.checkpoint.reader import open_checkpoint
from weft.checkpoint.routing import Router, take_apart
from weft.checkpoint.routing import put_together as join
from weft.errors import ConfigError, NotBuiltError
from weft.layers.context import LayerContext
from weft.layers.finishing import LayerFinisher
from weft.layers.layer import Home, allocate
from weft.layers.shard import Shard
from weft.models import sizes
from weft.models.decoder import Stack
from weft.ops.step import Step

TINY = SAMPLE | {"num_hidden_layers": 2, "n_layer": 2, "vocab_size": 75, "max_position_embeddings": 64,
                 "n_positions": 64, "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "n_group": 2,
                 "topk_group": 1, "mamba_n_heads": 8, "mamba_n_groups": 4, "hybrid_override_pattern": "M-"}
DESCRIPTIONS = [name for name, entry in families().items() if name == names_of(entry)[0]]


def model_of(spec: ModelSpec, index: int | None = None, count: int = 2, **options: Any) -> Stack:
    """The model, or one shard of it, with memory full of NaN."""
    shard = None if index is None else Shard(index, count)
    model = sizes.model_of(spec, context=LayerContext(torch.float32, shard=shard, **options))
    allocate(model, "cpu")
    for home in model.homes().values():
        home.view.fill_(torch.nan)
    return model


def random_weights(spec: ModelSpec) -> dict[str, Tensor]:
    """{home: a whole matrix or vector}; a home with two names is under its first."""
    random, places, weights = torch.Generator().manual_seed(0), set(), {}
    for name, home in model_of(spec).homes().items():
        if home.place not in places:
            weights[name] = torch.randn(home.whole_shape, generator=random)
        places.add(home.place)
    return weights


def stored(weights: dict[str, Tensor], names: NameMap) -> dict[str, Tensor]:
    """A checkpoint of the weights: the family's names, and its fused, transposed and reordered layouts."""
    router, state, left = Router(names), {}, by_row(weights, Router(names))
    while left:
        name = next(iter(left))
        source, route = next((source, router.route(source)) for source in router.sources_of(name)
                             if left.keys() >= set(router.route(source).homes))
        parts = [left.pop(home) for home in route.homes]
        if isinstance(route.layout, Stacked):
            state[source] = join(route.layout, parts).contiguous()
            continue
        parts = [part if part.dim() else part.unsqueeze(0) for part in parts]
        fused = torch.cat(parts)
        is_turned = getattr(route.layout, "transposed", False) and fused.dim() == 2
        shape = fused.shape[::-1] if is_turned else fused.shape
        if isinstance(route.layout, ChannelKernels) and fused.dim() == 2:
            shape = len(fused), 1, -1
        places = take_apart(route.layout, torch.arange(fused.numel()).view(shape), [len(part) for part in parts])
        state[source] = torch.empty(fused.numel()).view(shape)
        state[source].view(-1)[torch.cat(places).flatten()] = fused.flatten()
        if not weights.get(name, fused).dim():
            state[source] = state[source].view(())
    return state


def by_row(weights: dict[str, Tensor], router: Router) -> dict[str, Tensor]:
    """Matrices that no tensor holds as a whole, as their rows."""
    found: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        stem, _, suffix = name.rpartition(".")
        is_stored = bool(router.sources_of(name))
        found |= {name: tensor} if is_stored else {f"{stem}.{i}.{suffix}": row for i, row in enumerate(tensor)}
    return found


def load(model: Stack, path, names: NameMap) -> dict[str, Home]:
    """Fill a model's homes; they are not given to kernels yet."""
    homes = model.homes()
    load_weights(homes, open_checkpoint(path), names, use_tqdm=False)
    return homes


def put_together(name: str, shards: list[dict[str, Home]]) -> Tensor:
    """A whole tensor of its parts; NaN where no shard had any."""
    whole = torch.full(shards[0][name].whole_shape, torch.nan)
    if not whole.dim():
        return shards[0][name].view
    for homes in shards:
        spans = homes[name].rows, homes[name].columns
        rows, columns = (slice(None) if span is None else span.entries for span in spans)
        whole[(rows, ..., columns) if whole.dim() > 1 else rows] = homes[name].view
    return whole


# Their q, k and v are stored in pieces or with value heads of another size, which `stored` cannot write.
NOT_WRITTEN = {"CodeGenForCausalLM", "MiMoV2FlashForCausalLM"}


def described(architecture: str) -> ModelSpec:
    return families()[architecture].describe(ConfigReader(sizes_of(architecture, TINY)))


@pytest.mark.proves("tensor", "architecture")
@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("architecture", [name for name in DESCRIPTIONS if name not in NOT_WRITTEN])
def test_shards_put_together_are_the_whole(architecture, count, tmp_path):
    spec = described(architecture)
    try:
        model_of(spec, 0, count)
    except (ConfigError, NotBuiltError) as error:      # too few heads for so many shards, or a norm over all of them
        assert "shard" in str(error)
        pytest.skip(str(error))
    weights = random_weights(spec)
    save_file(stored(weights, spec.names), tmp_path / "model.safetensors")

    whole = load(model_of(spec), tmp_path, spec.names)
    shards = [load(model_of(spec, index, count), tmp_path, spec.names) for index in range(count)]

    for name, tensor in weights.items():
        assert torch.equal(whole[name].view, tensor), name
        assert torch.equal(put_together(name, shards), tensor), name


@pytest.mark.parametrize("architecture", DESCRIPTIONS)
def test_matrices_are_divided_and_only_small_things_are_held_by_every_shard(architecture):
    spec = described(architecture)
    if getattr(spec, "encoder", None) is not None:
        pytest.skip("cross attention is held whole by every shard")
    try:
        whole, shards = model_of(spec).homes(), [model_of(spec, index).homes() for index in range(2)]
    except NotBuiltError as error:
        pytest.skip(str(error))

    twice = {name.rpartition(".")[0].rpartition(".")[2] for name, home in whole.items() if home.view.dim() == 2
             and sum(shard[name].view.numel() for shard in shards) > home.view.numel()}

    one_kv_head = getattr(spec.blocks[0].mixer, "num_kv_heads", 0) == 1
    assert twice <= {"router", "shared_gate", "positions", "token_types", "project", "q_a", "kv_a", "relative",
                     "a_a", "z_a", "transform", *("kv" if one_kv_head else "")}


@pytest.mark.parametrize("cpu_isa", ["reference", *native_levels()[:1]])
@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "GPT2LMHeadModel", "DeepseekV2ForCausalLM",
                                          "Qwen2MoeForCausalLM", "StableLmForCausalLM", "OPTForCausalLM",
                                          "Mamba2ForCausalLM", "BertModel"])
def test_the_bytes_of_a_shard_are_known_before_it_is_loaded(architecture, cpu_isa, tmp_path):
    spec = described(architecture)
    save_file(stored(random_weights(spec), spec.names), tmp_path / "model.safetensors")
    for index in range(2):
        model = model_of(spec, index, isa=cpu_isa)
        planned = sizes.held_bytes(model, {})

        finisher = LayerFinisher(model, model.homes())
        load_weights(model.homes(), open_checkpoint(tmp_path), spec.names, use_tqdm=False, sink=finisher)
        finisher.finish()

        assert planned == pytest.approx(really_held(model), rel=0.02)


def test_a_shard_of_a_model_does_not_run_by_itself(tmp_path):
    model, ids = model_of(described("LlamaForCausalLM"), 0), torch.zeros(1, dtype=torch.long)

    with pytest.raises(NotBuiltError, match=r"residual stream = Span\(start=0, stop=37, size=75\)"):
        model(Step(input_ids=ids, positions=ids, query_lens=(1,)))
