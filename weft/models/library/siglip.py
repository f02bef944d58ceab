"""SigLIP's vision tower as a module, with the classes and attribute names of vLLM's module of this name.

A tower runs on pixels, outside of the paged cache: its attention sees all patches of an image.
Source: arXiv:2303.15343, and the config and tensor names of google/siglip-base-patch16-224.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weft.layers.public import (
    AutoWeightsLoader,
    ColumnParallelLinear,
    QKVParallelLinear,
    RowParallelLinear,
    WeightsMapper,
    get_act_fn,
)
from weft.parallel import divide, get_tensor_model_parallel_world_size

_STACKED = {f".{name}_proj.": (".qkv_proj.", name) for name in "qkv"}


class SiglipVisionEmbeddings(nn.Module):
    """Pixels [N, 3, height, width] -> patches [N, P, E] with learned positions."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config, self.embed_dim = config, config.hidden_size
        self.image_size, self.patch_size = config.image_size, config.patch_size
        self.patch_embedding = nn.Conv2d(config.num_channels, self.embed_dim, kernel_size=self.patch_size,
                                         stride=self.patch_size)
        self.num_patches = self.num_positions = (self.image_size // self.patch_size) ** 2
        self.position_embedding = nn.Embedding(self.num_positions, self.embed_dim)

    def forward(self, pixel_values: Tensor, interpolate_pos_encoding: bool = False) -> Tensor:
        """interpolate_pos_encoding: resize the square of learned positions to an image of another size."""
        height, width = (size // self.patch_size for size in pixel_values.shape[-2:])
        patches = self.patch_embedding(pixel_values).flatten(2).transpose(1, 2)
        return patches + self._positions(height, width, interpolate_pos_encoding)

    def _positions(self, height: int, width: int, resize: bool) -> Tensor:
        """[1, height * width, E]. ValueError for an image of another size without `resize`."""
        table, side = self.position_embedding.weight, int(self.num_positions ** 0.5)
        if (height, width) == (side, side):
            return table.unsqueeze(0)
        if not resize:
            raise ValueError(f"an image of {height} x {width} patches: expected {side} x {side}, or "
                             "interpolate_pos_encoding=True")
        square = table.view(1, side, side, -1).permute(0, 3, 1, 2)
        return F.interpolate(square, size=(height, width), mode="bicubic", align_corners=False).flatten(2).mT


class SiglipAttention(nn.Module):
    """Attention of all patches of an image to each other. forward: [N, P, E] -> ([N, P, E], None)."""

    def __init__(self, config: Any, quant_config: Any = None, prefix: str = "") -> None:
        super().__init__()
        self.config, self.embed_dim, self.num_heads = config, config.hidden_size, config.num_attention_heads
        if self.embed_dim % self.num_heads:
            raise ValueError(f"hidden_size {self.embed_dim}: expected a multiple of {self.num_heads} heads")
        self.head_dim = self.embed_dim // self.num_heads
        self.scale = self.head_dim ** -0.5
        self.num_heads_per_partition = divide(self.num_heads, get_tensor_model_parallel_world_size())
        self.qkv_proj = QKVParallelLinear(self.embed_dim, self.head_dim, self.num_heads, quant_config=quant_config,
                                          prefix=f"{prefix}.qkv_proj")
        self.out_proj = RowParallelLinear(self.embed_dim, self.embed_dim, quant_config=quant_config,
                                          prefix=f"{prefix}.out_proj")

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, None]:
        """[N, P, E] -> ([N, P, E], None)."""
        qkv, _ = self.qkv_proj(hidden_states)
        q, k, v = (x.unflatten(-1, (self.num_heads_per_partition, self.head_dim)).transpose(1, 2)
                   for x in qkv.chunk(3, dim=-1))
        out = F.scaled_dot_product_attention(q, k, v, scale=self.scale).transpose(1, 2).flatten(2)
        out, _ = self.out_proj(out)
        return out, None


class SiglipMLP(nn.Module):
    """Two products around an activation. forward: [N, P, E] -> [N, P, E]."""

    def __init__(self, config: Any, quant_config: Any = None, prefix: str = "") -> None:
        super().__init__()
        self.config, self.activation_fn = config, get_act_fn(config.hidden_act)
        self.fc1 = ColumnParallelLinear(config.hidden_size, config.intermediate_size, quant_config=quant_config,
                                        prefix=f"{prefix}.fc1")
        self.fc2 = RowParallelLinear(config.intermediate_size, config.hidden_size, quant_config=quant_config,
                                     prefix=f"{prefix}.fc2")

    def forward(self, hidden_states: Tensor) -> Tensor:
        """[N, P, E] -> [N, P, E]."""
        hidden_states, _ = self.fc1(hidden_states)
        out, _ = self.fc2(self.activation_fn(hidden_states))
        return out


class SiglipEncoderLayer(nn.Module):
    """A layer: attention and MLP behind their norms. forward: [N, P, E] -> ([N, P, E], None)."""

    def __init__(self, config: Any, quant_config: Any = None, prefix: str = "") -> None:
        super().__init__()
        self.embed_dim = config.hidden_size
        self.self_attn = SiglipAttention(config, quant_config, prefix=f"{prefix}.self_attn")
        self.layer_norm1 = nn.LayerNorm(self.embed_dim, eps=config.layer_norm_eps)
        self.mlp = SiglipMLP(config, quant_config, prefix=f"{prefix}.mlp")
        self.layer_norm2 = nn.LayerNorm(self.embed_dim, eps=config.layer_norm_eps)

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, None]:
        """[N, P, E] -> ([N, P, E], None)."""
        attended, _ = self.self_attn(self.layer_norm1(hidden_states))
        hidden_states = hidden_states + attended
        return hidden_states + self.mlp(self.layer_norm2(hidden_states)), None


class SiglipEncoder(nn.Module):
    """The layers. num_hidden_layers_override: how many of the config's are made."""

    def __init__(self, config: Any, quant_config: Any = None, num_hidden_layers_override: int | None = None,
                 prefix: str = "") -> None:
        super().__init__()
        self.config = config
        number = config.num_hidden_layers if num_hidden_layers_override is None else num_hidden_layers_override
        self.layers = nn.ModuleList(SiglipEncoderLayer(config, quant_config, prefix=f"{prefix}.layers.{i}")
                                    for i in range(number))

    def forward(self, inputs_embeds: Tensor, return_all_hidden_states: bool = False) -> Tensor | list[Tensor]:
        """[N, P, E] after the last layer; or of every place, the input first."""
        states = [inputs_embeds]
        for layer in self.layers:
            hidden_states, _ = layer(states[-1])
            states = [*states, hidden_states] if return_all_hidden_states else [hidden_states]
        return states if return_all_hidden_states else states[-1]


class SiglipMultiheadAttentionPoolingHead(nn.Module):
    """One learned query attends to all patches. forward: [N, P, E] -> [N, E]."""

    def __init__(self, config: Any, quant_config: Any = None, prefix: str = "") -> None:
        super().__init__()
        self.probe = nn.Parameter(torch.zeros(1, 1, config.hidden_size), requires_grad=False)
        self.attention = nn.MultiheadAttention(config.hidden_size, config.num_attention_heads, batch_first=True)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = SiglipMLP(config, quant_config, prefix=f"{prefix}.mlp")

    def forward(self, hidden_states: Tensor) -> Tensor:
        """[N, P, E] -> [N, E]."""
        probe = self.probe.expand(len(hidden_states), -1, -1)
        pooled = self.attention(probe, hidden_states, hidden_states, need_weights=False)[0]
        return (pooled + self.mlp(self.layernorm(pooled)))[:, 0]


class SiglipVisionTransformer(nn.Module):
    """Embeddings, layers, final norm, and the pooling head if the config asks for one.

    require_post_norm: whether the final norm is made; None: only when every layer of the config is made.
    """

    def __init__(self, config: Any, quant_config: Any = None, *, num_hidden_layers_override: int | None = None,
                 require_post_norm: bool | None = None, prefix: str = "") -> None:
        super().__init__()
        self.config = config
        self.embeddings = SiglipVisionEmbeddings(config)
        self.encoder = SiglipEncoder(config, quant_config, num_hidden_layers_override, prefix=f"{prefix}.encoder")
        is_whole = len(self.encoder.layers) == config.num_hidden_layers
        self.post_layernorm: nn.LayerNorm | None = None
        if is_whole if require_post_norm is None else require_post_norm:
            self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.use_head = getattr(config, "vision_use_head", True) and is_whole
        if self.use_head:
            self.head = SiglipMultiheadAttentionPoolingHead(config, quant_config, prefix=f"{prefix}.head")

    def forward(self, pixel_values: Tensor, interpolate_pos_encoding: bool = False, *,
                select_layers: Sequence[int] | None = None) -> Tensor:
        """[N, P, E]. select_layers: layers whose results are concatenated instead, along the last dimension."""
        hidden_states = self.embeddings(pixel_values, interpolate_pos_encoding)
        if select_layers is not None:
            states = self.encoder(hidden_states, return_all_hidden_states=True)
            return torch.cat([states[layer] for layer in select_layers], dim=-1)
        hidden_states = self.encoder(hidden_states)
        return hidden_states if self.post_layernorm is None else self.post_layernorm(hidden_states)


class SiglipVisionModel(nn.Module):
    """The tower under the name `vision_model`, as checkpoints have it."""

    config_class: Any = None
    main_input_name = "pixel_values"
    packed_modules_mapping = {"qkv_proj": ["q_proj", "k_proj", "v_proj"]}        # noqa: RUF012

    def __init__(self, config: Any, quant_config: Any = None, *, num_hidden_layers_override: int | None = None,
                 require_post_norm: bool | None = None, prefix: str = "") -> None:
        super().__init__()
        self.vision_model = SiglipVisionTransformer(
            config, quant_config, num_hidden_layers_override=num_hidden_layers_override,
            require_post_norm=require_post_norm, prefix=f"{prefix}.vision_model")

    def get_input_embeddings(self) -> nn.Module:
        """The module that turns pixels into patches."""
        return self.vision_model.embeddings.patch_embedding

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters."""
        return self.vision_model.embeddings.patch_embedding.weight.dtype

    def forward(self, pixel_values: Tensor, interpolate_pos_encoding: bool = False, *,
                select_layers: Sequence[int] | None = None) -> Tensor:
        """As SiglipVisionTransformer."""
        return self.vision_model(pixel_values, interpolate_pos_encoding, select_layers=select_layers)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """As AutoWeightsLoader; of a tower that is cut short, the rest of the checkpoint is left out."""
        made, tower = len(self.vision_model.encoder.layers), self.vision_model
        absent = [f"vision_model.encoder.layers.{i}." for i in range(made, tower.config.num_hidden_layers)]
        absent += [] if tower.use_head else ["vision_model.head."]
        absent += [] if tower.post_layernorm is not None else ["vision_model.post_layernorm."]
        return AutoWeightsLoader(self, skip_prefixes=absent).load_weights(
            weights, mapper=WeightsMapper(orig_to_new_stacked=_STACKED))
