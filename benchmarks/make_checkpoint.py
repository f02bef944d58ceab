"""Writes a checkpoint with the shape of a published model and random weights, for benchmarks: its text is meaningless.

    python benchmarks/make_checkpoint.py qwen3-0.6b /tmp/qwen3-0.6b

The checkpoint has bfloat16 weights in one safetensors file, a byte-level BPE tokenizer with the full vocabulary
(trained on the standard library's sources, then filled up with words that no merge reaches) and a ChatML template.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sysconfig
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from weft.architectures.reader import ConfigReader
from weft.architectures.registry import families
from weft.architectures.spec import DecoderSpec
from weft.models.sizes import model_of, parameter_shapes

# Values of published config.json files. Shapes that were reduced say so.
SHAPES: dict[str, dict[str, Any]] = {
    "qwen3-0.6b": {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072,
        "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
        "vocab_size": 151936, "tie_word_embeddings": True, "max_position_embeddings": 40960, "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0, "hidden_act": "silu", "attention_bias": False,
    },
    "qwen2.5-0.5b": {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864,
        "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936,
        "tie_word_embeddings": True, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
        "hidden_act": "silu",
    },
    "llama-1b": {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192,
        "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64,
        "vocab_size": 128256, "tie_word_embeddings": True, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0, "hidden_act": "silu",
    },
    # Qwen3 0.6B as a Llama, which has no norms of q and k: for `programmed.py`.
    "llama-0.6b": {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 1024, "intermediate_size": 3072,
        "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
        "vocab_size": 151936, "tie_word_embeddings": True, "max_position_embeddings": 40960, "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0, "hidden_act": "silu",
    },
    # Mixtral 8x7B, reduced in width, depth and vocabulary: 405 M parameters, of which a token uses 179 M.
    "mixtral-0.4b": {
        "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "hidden_size": 1024,
        "intermediate_size": 1024, "num_local_experts": 8, "num_experts_per_tok": 2, "num_hidden_layers": 12,
        "num_attention_heads": 16, "num_key_value_heads": 8, "vocab_size": 32000, "tie_word_embeddings": False,
        "max_position_embeddings": 32768, "rms_norm_eps": 1e-5, "rope_theta": 1000000.0, "hidden_act": "silu",
        "sliding_window": None,
    },
    # Qwen3-30B-A3B, reduced in width, depth and number of experts: 1.53 B parameters, of which a token uses 0.39 B.
    # Embedding and head have 155.6 M; a layer's attention has 5.2 M, and its 64 experts 1.57 M each; a token uses 8.
    "qwen3-moe-1.5b": {
        "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_size": 1024,
        "intermediate_size": 3072, "moe_intermediate_size": 512, "num_experts": 64, "num_experts_per_tok": 8,
        "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": [], "num_hidden_layers": 13,
        "num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 128, "vocab_size": 151936,
        "tie_word_embeddings": True, "max_position_embeddings": 40960, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
        "hidden_act": "silu", "attention_bias": False,
    },
}
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = ("{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


def main() -> None:
    """Write the checkpoint that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    config = SHAPES[options.shape] | {"torch_dtype": "bfloat16", "eos_token_id": 2, "bos_token_id": None}
    write_json(options.out / "config.json", config)
    write_json(options.out / "generation_config.json", {"eos_token_id": [2, 0]})
    count = write_weights(options.out / "model.safetensors", config, options.seed)
    write_tokenizer(options.out, config["vocab_size"], options.seed)
    print(f"{options.out}: {count / 1e6:.1f} M parameters, {time.perf_counter() - start:.0f} s")


def write_weights(path: Path, config: dict[str, Any], seed: int) -> int:
    """Write normal weights of deviation 0.02, norms 1 and biases 0. Returns the number of parameters."""
    source = str(path.parent / "config.json")
    spec = families()[config["architectures"][0]].describe(ConfigReader(config, source=source))
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for home, shape in parameter_shapes(model_of(spec)).items():
        tensor = torch.empty(shape, dtype=torch.bfloat16)
        if len(shape) == 1:
            tensor.fill_(1.0 if home.endswith("norm.weight") else 0.0)
        else:
            tensor.normal_(0.0, 0.02, generator=generator)
        tensors[checkpoint_name(home, spec)] = tensor
    save_file(tensors, path, metadata={"format": "pt"})
    return sum(tensor.numel() for tensor in tensors.values())


def checkpoint_name(home: str, spec: DecoderSpec) -> str:
    """The tensor name that the architecture's rules route to a home, e.g. `blocks.0.mixer.q.weight`."""
    stem, _, suffix = home.rpartition(".")
    numbers = {}
    for before, letter in (("blocks.", "i"), ("experts.", "e")):
        found = re.search(rf"(?<={re.escape(before)})\d+", stem)
        if found:
            numbers[letter] = found[0]
            stem = stem.replace(before + found[0], before + f"{{{letter}}}", 1)
    source = next(rule.source for rule in spec.names.rules if rule.targets == (stem,))
    for letter, number in numbers.items():
        source = source.replace(f"{{{letter}}}", number)
    return f"{source}.{suffix}"


def write_tokenizer(out: Path, vocab_size: int, seed: int) -> None:
    """tokenizer.json and tokenizer_config.json with exactly `vocab_size` tokens, the special ones first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    files = sorted(map(str, Path(sysconfig.get_path("stdlib")).glob("*.py")))
    tokenizer.train(files, trainers.BpeTrainer(
        vocab_size=vocab_size - 256, special_tokens=list(SPECIAL), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    content = json.loads(tokenizer.to_str())
    vocabulary, draw = content["model"]["vocab"], random.Random(seed)
    while len(vocabulary) < vocab_size:
        vocabulary.setdefault("Ġ" + "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(4, 9))),
                              len(vocabulary))
    write_json(out / "tokenizer.json", content)
    write_json(out / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
        "chat_template": TEMPLATE, "clean_up_tokenization_spaces": False})


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write an object, with characters as they are."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
