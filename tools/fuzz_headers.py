"""Feeds broken GGUF and safetensors files to weft's readers, guided by the lines that each one reaches.

    pip install atheris
    python tools/fuzz_headers.py gguf [libFuzzer options, e.g. -max_total_time=300 CORPUS_DIR]
    python tools/fuzz_headers.py safetensors ...

A reader may accept a file, or refuse it with one of weft's errors that names the file. Anything else (another
exception, much memory, much time) is a finding: libFuzzer writes the file that caused it, and stops. From a GGUF file
the header, the config, the model's description and the tokenizer are made; from a safetensors file only the header.
"""

from __future__ import annotations

import logging
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["weft"]):
    from weft.architectures.reader import ConfigReader
    from weft.architectures.registry import families
    from weft.errors import WeftError
    from weft.models.registry import ModelRegistry
    from weft.resolve.gguf.config import read_gguf_config
    from weft.resolve.gguf.families import GGUF_FAMILIES
    from weft.resolve.gguf.header import read_gguf
    from weft.resolve.safetensors_header import read_header
    from weft.text.gguf_tokenizer import TokenizerKeys

    families()      # imports their modules

LIMITS = ("-rss_limit_mb=3000", "-timeout=10", "-max_len=4096")


def read_all_of_gguf(path: Path) -> None:
    """Resolve a file, up to the description of the model and the tokenizer."""
    read_gguf(path)
    config = read_gguf_config(path, {})
    reader = ConfigReader(config.values, source=config.source, origins=config.origins)
    ModelRegistry.find(config.architecture, source=config.source)[1].target()(reader)
    keys = TokenizerKeys(path)
    keys.chat_templates()
    keys.special("bos")


TARGETS: dict[str, Callable[[Path], object]] = {"gguf": read_all_of_gguf, "safetensors": read_header}


def seeds(target: str) -> list[bytes]:
    """Small valid files as the fuzzer's first inputs."""
    if target == "safetensors":
        header = b'{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
        return [struct.pack("<Q", len(header)) + header + bytes(8)]
    return [gguf_file(name) for name in GGUF_FAMILIES]


def gguf_file(architecture: str) -> bytes:
    """A GGUF file of this architecture with the usual keys and two tensors."""
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    numbers = {"context_length": 64, "embedding_length": 32, "block_count": 1, "attention.head_count": 4,
               "attention.head_count_kv": 2, "feed_forward_length": 48, "expert_count": 2, "expert_used_count": 1,
               "attention.key_length": 8, "attention.value_length": 8, "attention.sliding_window": 4,
               "rope.dimension_count": 8}
    entries = [text("general.architecture") + struct.pack("<I", 8) + text(architecture)]
    entries += [text(f"{architecture}.{key}") + struct.pack("<II", 4, value) for key, value in numbers.items()]
    entries += [text("tokenizer.ggml.model") + struct.pack("<I", 8) + text("llama"),
                text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("<s>"),
                text("tokenizer.ggml.scores") + struct.pack("<IIQ2f", 9, 6, 2, 0.0, -1.0),
                text("tokenizer.ggml.token_type") + struct.pack("<IIQ2i", 9, 5, 2, 1, 3),
                text("tokenizer.ggml.bos_token_id") + struct.pack("<II", 4, 1)]
    tensors = [text("token_embd.weight") + struct.pack("<I2QIQ", 2, 32, 2, 0, 0),
               text("rope_freqs.weight") + struct.pack("<IQIQ", 1, 4, 0, 256)]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries)) + b"".join(entries + tensors)
    return head + bytes(-len(head) % 32) + bytes(256) + struct.pack("<4f", 1, 1, 2, 4)


def main() -> None:
    target = sys.argv[1] if len(sys.argv) > 1 else ""
    if target not in TARGETS:
        sys.exit(f"usage: {sys.argv[0]} {{{','.join(TARGETS)}}} [libFuzzer options]")
    logging.disable()
    with tempfile.TemporaryDirectory() as folder:
        path, corpus = Path(folder) / "file", Path(folder) / "corpus"
        corpus.mkdir()
        for number, seed in enumerate(seeds(target)):
            (corpus / str(number)).write_bytes(seed)

        def one(data: bytes) -> None:
            path.write_bytes(data)
            try:
                TARGETS[target](path)
            except WeftError as error:
                if str(path) not in str(error):
                    raise AssertionError(f"the error does not name the file: {error}") from error

        given = [option for option in sys.argv[2:] if option.startswith("-")]
        folders = [option for option in sys.argv[2:] if not option.startswith("-")]
        atheris.Setup([sys.argv[0], *LIMITS, *given, *folders, str(corpus)], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
