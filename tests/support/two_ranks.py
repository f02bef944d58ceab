"""Public layers in two processes that divide them, over gloo: `run_two(path)` gives what each process computed."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from programmed_llama import MyLlama
from public_layers import REFERENCE, finish, loaded, made, numbers, prompt_step
from torch import Tensor, nn

from weft.checkpoint.loader import open_weights
from weft.config.engine_args import EngineArgs
from weft.config.engine_config import EngineConfig
from weft.config.machine import Machine
from weft.layers.public import (
    ColumnParallelLinear,
    FusedMoE,
    IntermediateTensors,
    LogitsProcessor,
    MergedColumnParallelLinear,
    ParallelLMHead,
    QKVParallelLinear,
    RowParallelLinear,
    VocabParallelEmbedding,
)
from weft.models.build import build_model, layer_context
from weft.models.vllm.vllm_config import vllm_config
from weft.ops.step import Step
from weft.parallel import Group, Ranks, current_ranks, get_pp_group, get_tp_group, running_on
from weft.resolve.engine_config import resolve_engine_config

E, ROWS = 32, 5
IDS = torch.tensor([0, 40, 20, 21, 3])


class Logits(nn.Module):
    """A head with a bias as a model calls it."""

    def __init__(self):
        super().__init__()
        self.lm_head, self.processor = ParallelLMHead(41, E, bias=True), LogitsProcessor(41)

    def forward(self, x: Tensor) -> Tensor:
        return self.processor(self.lm_head, x)


class Block(nn.Module):
    """A layer of a model: q, k and v with fewer key heads than processes, and a gated MLP."""

    def __init__(self):
        super().__init__()
        self.qkv = QKVParallelLinear(E, 8, 4, 1, return_bias=False)
        self.o = RowParallelLinear(E, E, return_bias=False)
        self.up = MergedColumnParallelLinear(E, [64, 64], bias=False, return_bias=False)
        self.down = RowParallelLinear(64, E, bias=False, return_bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).split(self.qkv.output_partition_sizes, dim=-1)
        x = x + self.o(q * (k + v).repeat(1, q.shape[1] // k.shape[1]))
        gate, up = self.up(x).chunk(2, dim=-1)
        return x + self.down(gate.sigmoid() * up)


def x_of(width: int) -> Tensor:
    return numbers((ROWS, width), torch.float32, seed=3)


MOE = {"num_experts": 4, "top_k": 2, "hidden_size": E, "intermediate_size": 64, "has_bias": True}
# name: (constructor, call that gives the whole result in every process)
CASES = {
    "column, gathered": (lambda: ColumnParallelLinear(E, 10, gather_output=True, return_bias=False),
                         lambda layer: layer(x_of(E))),
    "merged, gathered": (lambda: MergedColumnParallelLinear(E, [6, 10], gather_output=True, return_bias=False),
                         lambda layer: layer(x_of(E))),
    "row with a bias": (lambda: RowParallelLinear(E, 6, input_is_parallel=False, return_bias=False),
                        lambda layer: layer(x_of(E))),
    "row, bias left out": (lambda: RowParallelLinear(E, 6, input_is_parallel=False, skip_bias_add=True),
                           lambda layer: sum(layer(x_of(E)))),
    "not divided": (lambda: ColumnParallelLinear(E, 7, disable_tp=True, return_bias=False),
                    lambda layer: layer(x_of(E))),
    "embedding": (lambda: VocabParallelEmbedding(41, E), lambda layer: layer(IDS)),
    "embedding with more rows": (lambda: VocabParallelEmbedding(45, E, org_num_embeddings=41),
                                 lambda layer: layer(IDS)),
    "head": (Logits, lambda layer: layer(x_of(E))),
    "experts": (lambda: FusedMoE(**MOE, reduce_results=True), lambda layer: layer(x_of(E), x_of(4))),
    "block": (Block, lambda layer: layer(x_of(E))),
}


def whole_values(make) -> dict[str, Tensor]:
    """Numbers of a layer's parameters as one process has them, and as a checkpoint stores them."""
    with running_on(Ranks()):
        module = make()
    return {name: numbers(parameter.shape, torch.float32, seed=i)[: 41 if parameter.shape[0] == 45 else None]
            for i, (name, parameter) in enumerate(sorted(module.named_parameters()))}


def results() -> dict[str, Tensor]:
    """The result of each case in this process."""
    return {name: call(loaded(make, REFERENCE, values=whole_values(make))) for name, (make, call) in CASES.items()}


def config_of(path: Path) -> EngineConfig:
    return resolve_engine_config(
        EngineArgs(model=str(path), model_class=MyLlama, dtype="float32", max_model_len=64, cpu_isa="reference"),
        Machine.detect())


def two_prompts() -> Step:
    return replace(prompt_step(5, 3), input_ids=torch.tensor([7, 200, 3, 258, 0, 9, 130, 129]))


def stage_logits(path: Path) -> dict[str, Tensor]:
    """Logits [8, V] of the step from the last stage of a pipeline, and how many parameters each stage has."""
    config, group, step = config_of(path), get_pp_group(), two_prompts()
    module, step_ref = made(lambda: MyLlama(vllm_config=vllm_config(config, current_ranks())), REFERENCE)
    module.load_weights(open_weights(config.model, config.load).read())
    finish(module)
    step_ref.begin(step)
    received = None
    if not group.is_first_rank:
        empty = module.make_empty_intermediate_tensors(len(step.input_ids), torch.float32, "cpu")
        received = IntermediateTensors(group.receive_tensors(dict(empty.items())))
    out = module(step.input_ids, step.positions, received)
    counted = {"layers": torch.tensor([sum(name.startswith(f"model.layers.{i}.") for name, _ in
                                           module.named_parameters()) for i in range(2)])}
    if not group.is_last_rank:
        group.send_tensors(dict(out.items()))
        return counted
    return counted | {"stages": module.compute_logits(out)}


def model_logits(path: Path) -> Tensor:
    """Logits [8, V] of a step with two prompts through a programmed model, as this process has them."""
    config = config_of(path)
    model = build_model(config, layer_context(config), open_weights(config.model, config.load))
    model.load(max_model_len=64, use_tqdm=False)
    for layer in model.caches:
        layer.bind_cache(tuple(torch.full(shape, torch.nan, dtype=dtype) for shape, dtype in
                               zip(layer.cache_shapes(4), layer.cache_dtypes, strict=True)), 0)
    return model.compute_logits(model.forward(two_prompts()))


def run_two(path: Path) -> list[dict[str, Tensor]]:
    """What processes 0 and 1 computed."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_rank, args=(rank, str(path))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(200)
        assert process.exitcode == 0, "a process failed: its traceback is on stderr"
    return [torch.load(path / f"{rank}.pt", weights_only=True) for rank in range(2)]


def _rank(rank: int, path: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{path}/store", rank=rank, world_size=2,
                            timeout=timedelta(seconds=150))
    world = dist.group.WORLD
    with running_on(Ranks(tensor=Group(world))):
        found = results() | {"model": model_logits(Path(path) / "model")}
        group, mine = get_tp_group(), torch.full((2,), rank + 1, dtype=torch.bfloat16)
        found |= {"sum": group.all_reduce(mine), "gathered": group.all_gather(mine), "sent": group.broadcast(mine, 1),
                  "scattered": group.reduce_scatter(mine)}
        if group.is_first_rank:
            group.send_tensors({"a": mine, "b": mine.float()})
        else:
            found |= group.receive_tensors({"a": mine, "b": mine.float()})
    with running_on(Ranks(pipeline=Group(world))):
        found |= stage_logits(Path(path) / "model")
    torch.save(found, f"{path}/{rank}.pt")
    dist.destroy_process_group()
