"""Tiny random checkpoints of Transformers' classes, each with one thing that a backend must get right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

VOCAB_SIZE, MAX_LEN = 260, 128
_SIZES = {"vocab_size": VOCAB_SIZE, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
          "num_attention_heads": 4, "max_position_embeddings": MAX_LEN, "pad_token_id": 0, "bos_token_id": 1,
          "eos_token_id": 2}
_GPT2 = {"vocab_size": VOCAB_SIZE, "n_positions": MAX_LEN, "n_embd": 64, "n_layer": 3, "n_head": 4, "bos_token_id": 1,
         "eos_token_id": 2}

# name -> (class without its ending, values of its config)
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", _SIZES | {"num_key_value_heads": 2}),
    "qwen3": ("Qwen3", _SIZES | {"num_key_value_heads": 2, "head_dim": 16}),
    "gemma2": ("Gemma2", _SIZES | {"num_key_value_heads": 2, "head_dim": 32, "sliding_window": 12,
                                   "attn_logit_softcapping": 4.0, "final_logit_softcapping": 5.0}),
    "gpt-oss": ("GptOss", _SIZES | {"num_key_value_heads": 2, "head_dim": 16, "sliding_window": 12,
                                    "num_local_experts": 4, "num_experts_per_tok": 2, "rope_parameters": {
                                        "rope_type": "default", "rope_theta": 10000.0}}),
    "mixtral": ("Mixtral", _SIZES | {"num_key_value_heads": 2, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "deepseek-v3": ("DeepseekV3", _SIZES | {
        "num_key_value_heads": 4, "q_lora_rank": 32, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16,
        "v_head_dim": 12, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1,
        "moe_intermediate_size": 32, "first_k_dense_replace": 1, "n_shared_experts": 1}),
    "gpt2": ("GPT2", _GPT2),
    "phi": ("Phi", _SIZES | {"num_key_value_heads": 4}),
    "bloom": ("Bloom", {"vocab_size": VOCAB_SIZE, "hidden_size": 64, "n_layer": 3, "n_head": 4, "pad_token_id": 0,
                        "bos_token_id": 1, "eos_token_id": 2}),
    "mamba": ("Mamba", {"vocab_size": VOCAB_SIZE, "hidden_size": 64, "num_hidden_layers": 3, "state_size": 8,
                        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}),
    "lfm2": ("Lfm2", _SIZES | {"num_key_value_heads": 2, "block_auto_adjust_ff_dim": False,
                               "layer_types": ["conv", "full_attention", "conv"]}),
    "smollm3": ("SmolLM3", _SIZES | {"num_key_value_heads": 2, "tie_word_embeddings": True,
                                     "no_rope_layers": [1, 0, 1]}),
    "recurrent-gemma": ("RecurrentGemma", _SIZES | {"num_key_value_heads": 1, "lru_width": 64,
                                                    "attention_window_size": 12}),
    "bert": ("Bert", _SIZES),
    "distilbert": ("DistilBert", {"vocab_size": VOCAB_SIZE, "dim": 64, "hidden_dim": 96, "n_layers": 2, "n_heads": 4,
                                  "max_position_embeddings": MAX_LEN, "pad_token_id": 0}),
    "albert": ("Albert", _SIZES | {"embedding_size": 32}),
    "esm": ("Esm", _SIZES | {"max_position_embeddings": MAX_LEN + 2, "pad_token_id": 1, "mask_token_id": 3,
                             "use_cache": True}),
    "roberta": ("Roberta", _SIZES | {"max_position_embeddings": MAX_LEN + 2, "pad_token_id": 1, "bos_token_id": 0}),
}
_ENDINGS = {"gpt2": "LMHeadModel"} | dict.fromkeys(("bert", "roberta", "distilbert", "albert", "esm"), "Model")
ARCHITECTURE_OF = {kind: stem + _ENDINGS.get(kind, "ForCausalLM") for kind, (stem, _) in KINDS.items()}


def write_kind(directory: Path, kind: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Write the checkpoint of a kind; the model of Transformers that it is from, in `dtype`."""
    stem, values = KINDS[kind]
    cls = getattr(transformers, stem + _ENDINGS.get(kind, "ForCausalLM"))
    model = cls._from_config(cls.config_class(**values), dtype=torch.float32, attn_implementation="eager").eval()
    scatter(model)
    model = model.to(dtype)
    model.save_pretrained(directory)
    return model


@torch.no_grad()
def scatter(model: nn.Module) -> None:
    """Random numbers in which an error shows: every vector differs from its initial value."""
    generator = torch.Generator().manual_seed(3)
    for name, parameter in sorted(model.named_parameters()):
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() < 2:
            parameter += noise * 0.1
        else:
            parameter.copy_(noise * (0.3 if "embed" in name or "wte" in name else 1.3 * parameter.shape[-1] ** -0.5))


@torch.inference_mode()
def greedy(model: nn.Module, prompt: list[int], count: int) -> list[int]:
    """The likeliest tokens, by a forward pass over all tokens each time."""
    ids = list(prompt)
    for _ in range(count):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt):]


CUSTOM_CODE = '''"""A model that Transformers does not have: Llama with a scale on each layer's result."""
from transformers import LlamaConfig, LlamaForCausalLM


class MineConfig(LlamaConfig):
    model_type = "mine"


class MineForCausalLM(LlamaForCausalLM):
    config_class = MineConfig

    def __init__(self, config):
        super().__init__(config)
        for layer in self.model.layers:
            layer.mlp.register_forward_hook(lambda module, args, output: output * 0.5)
'''


def write_custom(directory: Path) -> None:
    """A checkpoint whose classes come with it (auto_map)."""
    write_kind(directory, "llama")
    (directory / "modeling_mine.py").write_text(CUSTOM_CODE)
    file = directory / "config.json"
    config = json.loads(file.read_text())
    config |= {"architectures": ["MineForCausalLM"], "model_type": "mine", "auto_map": {
        "AutoConfig": "modeling_mine.MineConfig", "AutoModelForCausalLM": "modeling_mine.MineForCausalLM"}}
    file.write_text(json.dumps(config))
