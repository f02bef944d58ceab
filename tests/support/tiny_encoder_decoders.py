"""Tiny random encoder-decoder checkpoints of Transformers' classes, and what `generate` makes of a prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tiny_transformers import VOCAB_SIZE, scatter
from torch import nn

from weft import LLM, RequestOutput, SamplingParams

MAX_LEN = 128
_IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3}
_BART = _IDS | {
    "vocab_size": VOCAB_SIZE, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": MAX_LEN}
_T5 = _IDS | {"vocab_size": VOCAB_SIZE, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
_GEMMA = {"vocab_size": VOCAB_SIZE, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 8,
          "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": MAX_LEN, "sliding_window": 6}

# name -> (class, values of its config)
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "t5": ("T5ForConditionalGeneration", _T5),
    "t5-gated": ("T5ForConditionalGeneration", _T5 | {"feed_forward_proj": "gated-gelu", "num_decoder_layers": 1,
                                                      "tie_word_embeddings": False}),
    "mt5": ("MT5ForConditionalGeneration", _T5 | {"feed_forward_proj": "gated-gelu"}),
    "umt5": ("UMT5ForConditionalGeneration", _T5 | {"feed_forward_proj": "gated-gelu"}),
    "bart": ("BartForConditionalGeneration", _BART),
    "mbart": ("MBartForConditionalGeneration", _BART | {"encoder_layers": 1, "scale_embedding": True}),
    "plbart": ("PLBartForConditionalGeneration", _BART | {"decoder_attention_heads": 2}),
    "mvp-prompts": ("MvpForConditionalGeneration", _BART | {"use_prompt": True, "prompt_length": 4,
                                                            "prompt_mid_dim": 8}),
    "longt5": ("LongT5ForConditionalGeneration", _T5 | {"local_radius": 3}),
    "longt5-global": ("LongT5ForConditionalGeneration", _T5 | {
        "encoder_attention_type": "transient-global", "local_radius": 3, "global_block_size": 4}),
    "mvp": ("MvpForConditionalGeneration", _BART),
    "blenderbot": ("BlenderbotForConditionalGeneration", _BART),
    "blenderbot-small": ("BlenderbotSmallForConditionalGeneration", _BART),
    "pegasus": ("PegasusForConditionalGeneration", _BART),
    "led": ("LEDForConditionalGeneration", _BART | {
        "max_encoder_position_embeddings": MAX_LEN, "max_decoder_position_embeddings": MAX_LEN,
        "attention_window": [4, 8]}),
    "marian-apart": ("MarianMTModel", _BART | {"share_encoder_decoder_embeddings": False,
                                               "decoder_vocab_size": VOCAB_SIZE, "tie_word_embeddings": False}),
    "marian": ("MarianMTModel", _BART),
    "m2m100": ("M2M100ForConditionalGeneration", _BART),
    "t5gemma": ("T5GemmaForConditionalGeneration", _IDS | {"encoder": _GEMMA, "decoder": _GEMMA,
                                                           "vocab_size": VOCAB_SIZE}),
    "fsmt": ("FSMTForConditionalGeneration", {key: value for key, value in _BART.items() if key != "vocab_size"} | {
        "langs": ["en", "de"], "src_vocab_size": VOCAB_SIZE + 8, "tgt_vocab_size": VOCAB_SIZE}),
}
ARCHITECTURE_OF = {kind: KINDS[kind][0] for kind in ("t5", "bart", "marian", "m2m100", "t5gemma", "fsmt")}
_NOT_DESCRIBED = ("longt5-global", "mvp-prompts")
DESCRIBED = {kind: name for kind, (name, _) in KINDS.items() if kind not in _NOT_DESCRIBED}      # by weft's own layers


def write_pair(directory: Path, kind: str, **generation: Any) -> nn.Module:
    """Write the checkpoint of a kind; the model that it is from. generation: values of its generation config."""
    name, values = KINDS[kind]
    cls = getattr(transformers, name)
    model = cls._from_config(cls.config_class(**values), dtype=torch.float32, attn_implementation="eager").eval()
    scatter(model)
    model.generation_config = transformers.GenerationConfig(**_IDS | generation)
    model.save_pretrained(directory)
    return cls.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()


@torch.inference_mode()
def generated(model: Any, prompt: list[int], count: int, decoder: list[int] | None = None, **options: Any) -> list[int]:
    """The `count` tokens that `generate` adds, greedily, to the decoder's prompt (None: its start token)."""
    given = {} if decoder is None else {"decoder_input_ids": torch.tensor([decoder])}
    ids = model.generate(torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                         do_sample=False, num_beams=1, max_new_tokens=count, min_new_tokens=count,
                         **given, **options)
    return ids[0, -count:].tolist()


# Prompts of the encoder.
PROMPTS = [[5 + i, 77, 19 + 2 * i, 105, 130 + i] * (1 + 2 * i) for i in range(4)]


def engine(directory: Path, **options: Any) -> LLM:
    """An engine for a pair's checkpoint. options: over those that tests share."""
    return LLM(model=str(directory), **{"dtype": "float32", "max_model_len": 96, "use_tqdm_on_load": False,
                                        "num_threads": 1, "skip_tokenizer_init": True} | options)


def answers(llm: LLM, prompts: list[Any], count: int, **params: Any) -> list[RequestOutput]:
    """Greedy answers of `count` tokens. prompts: token ids, or prompts as `generate` takes them."""
    chosen = SamplingParams(**{"temperature": 0, "max_tokens": count, "ignore_eos": True, "min_tokens": count} | params)
    return llm.generate([prompt if isinstance(prompt, dict) else {"prompt_token_ids": prompt} for prompt in prompts],
                        chosen, use_tqdm=False)


def tokens(outputs: list[RequestOutput]) -> list[list[int]]:
    """Token ids of each output's first answer."""
    return [list(output.outputs[0].token_ids) for output in outputs]
