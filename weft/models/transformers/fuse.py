"""`Fusion`: weft's parts in the place of a model's decoder layers and head: what is replaced, and doing it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from weft.layers.context import LayerContext
from weft.layers.paged_attention import PagedAttention
from weft.layers.public.embedding import ParallelLMHead, VocabParallelEmbedding
from weft.layers.public.layer import StepRef
from weft.models.sizes import layers_of
from weft.models.transformers.blocks import fill_block, layers_path, make_blocks
from weft.models.transformers.cache_own import text_config
from weft.models.transformers.outline import Outline
from weft.models.transformers.stack import FusedStack
from weft.models.transformers.wiring import NotWiredError, Site, watch_layer


class Fusion:
    """model: without memory; it is called once more, to see what its layers are given. NotWiredError says why weft's
    parts cannot take their place.

    stack: the Blocks, without memory at first. replaced: ids of the parameters without memory that they stand for.
    """

    def __init__(self, model: Any, outline: Outline, sites: Sequence[Site], context: LayerContext,
                 step: StepRef) -> None:
        self._path, self._sites, self._context, self._step = layers_path(sites), sites, context, step
        layers = model.get_submodule(self._path)
        if not isinstance(layers, nn.ModuleList) or len(layers) != len(sites):
            raise NotWiredError("its layers are no list")
        seen = watch_layer(layers[0])
        outline.look(model)
        if seen.rotary_dim is None:
            raise NotWiredError("its layers are given no position_embeddings (cos and sin)")
        config = text_config(model.get_submodule(outline.backbone).config)
        blocks = make_blocks(model, sites, config, seen.rotary_dim, context.dtype, context)
        self.stack = FusedStack(blocks, step, context, returns_tuple=seen.returns_tuple)
        self.caches = tuple(module for module in self.stack.modules() if isinstance(module, PagedAttention))
        self.replaced = {id(parameter) for parameter in layers.parameters()}

    @torch.no_grad()
    def fuse(self, model: Any) -> None:
        """Move the numbers of a loaded model's layers and head into weft's parts, one layer after another."""
        path, _, name = self._path.rpartition(".")
        layers = model.get_submodule(self._path)
        for block, layer, site in zip(self.stack.blocks, layers, self._sites, strict=True):
            fill_block(cast("Any", block), layer, site.name.rpartition(".")[2], self._context.device)
        setattr(model.get_submodule(path), name, nn.ModuleList([self.stack]))
        fuse_head(model, self._context, self._step)


def weight_bytes(model: nn.Module, fusion: Fusion | None) -> int:
    """Bytes of a model's parameters and buffers, those that modules share once; of weft's layers as kernels hold them.
    """
    replaced = set() if fusion is None else fusion.replaced
    tensors = {id(x): x for x in (*model.parameters(), *model.buffers()) if id(x) not in replaced}
    held = 0 if fusion is None else sum(layer.held_bytes({}) for layer in layers_of(fusion.stack))
    return held + sum(x.numel() * x.element_size() for x in tensors.values())


class FusedHead(nn.Module):
    """A head that multiplies by weft's table. weight: the table, for code that looks at it."""

    def __init__(self, table: VocabParallelEmbedding) -> None:
        super().__init__()
        self.table = table

    @property
    def weight(self) -> nn.Parameter:
        """The table [V, E]."""
        return self.table.weight

    def forward(self, hidden_states: Tensor) -> Tensor:
        """[..., E] -> [..., V] float32."""
        return self.table.logits(hidden_states)


def fuse_head(model: Any, context: LayerContext, step: StepRef) -> bool:
    """Replace a model's head by weft's, and the embedding that shares its table. False: it has no such head."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if type(head) is not nn.Linear or head.bias is not None:
        return False
    is_tied = head.weight is embedding.weight
    if is_tied and type(embedding) is not nn.Embedding:
        return False
    vocab_size, hidden_size = head.weight.shape
    table = VocabParallelEmbedding(vocab_size, hidden_size, context.dtype) if is_tied else ParallelLMHead(
        vocab_size, hidden_size, params_dtype=context.dtype)
    table.is_head = True
    table.bind(context, step)
    table.allocate(context.device)
    table.load_part(table.weight, head.weight.detach())
    head.weight = nn.Parameter(head.weight.new_empty(0), requires_grad=False)
    if is_tied:
        model.set_input_embeddings(table)
    table.finish_loading()
    model.set_output_embeddings(FusedHead(table))
    return True
