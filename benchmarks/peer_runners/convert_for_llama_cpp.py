"""Runs llama.cpp's Hugging Face converter on a checkpoint whose tokenizer it does not know.

    python benchmarks/peer_runners/convert_for_llama_cpp.py LLAMA_CPP_DIR CHECKPOINT --outfile MODEL.gguf --outtype bf16

The converter identifies a tokenizer by a hash of its output for a test text, and refuses unlisted hashes. Benchmarks
send token ids, so the pre-tokenizer does not matter: this script names GPT-2's. Arguments after LLAMA_CPP_DIR go to the
converter. Needs torch, transformers, sentencepiece and numpy.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path


def main() -> None:
    """Run the converter with the look-up replaced."""
    directory = Path(sys.argv[1])
    script = directory / "convert_hf_to_gguf.py"
    if not script.is_file():
        raise SystemExit(f"{directory}: expected llama.cpp's source directory, with convert_hf_to_gguf.py in it.")
    sys.path[:0] = [str(directory), str(directory / "gguf-py")]
    from conversion.base import TextModel

    TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-2"
    sys.argv[:2] = [str(script)]
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main()
