"""A model directory with what the tests of resolve/ need of one."""

import json

CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 100, "hidden_size": 32,
          "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 512,
          "eos_token_id": 2}


def write_model(path, files=None, *, without=(), **changes):
    """config.json with changes; other files as {name: object}."""
    path.mkdir(parents=True, exist_ok=True)
    config = {key: value for key, value in (CONFIG | changes).items() if key not in without}
    for name, value in ({"config.json": config} | (files or {})).items():
        (path / name).write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def write_header(path, tensors):
    """A safetensors file of zeros: {name: (dtype, shape, bytes)}."""
    header, offset = {}, 0
    for name, (dtype, shape, num_bytes) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + num_bytes]}
        offset += num_bytes
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(offset))
    return path
