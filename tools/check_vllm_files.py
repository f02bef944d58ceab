"""Runs model files that were written for vLLM, unchanged, and compares their greedy tokens with a reference's.

    python tools/check_vllm_files.py FOLDER [--only NAME,NAME] [--no-serve] [--markdown FILE]

FOLDER has a folder for each file to check, with a `case.toml`; docs/vllm-models.md says what is in one. For each case a
tiny random checkpoint is written, the reference answers three prompts, and weft answers them in the process of `LLM`
(all at once, and in chunks of 16 tokens) and under `weft serve`. Ends with 1 unless all tokens are equal.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

PROMPTS = [[3 + i, 7, 13 + 2 * i, 5, 32 + i] * (1 + 3 * i) for i in range(3)]      # 5, 20 and 35 tokens
NEW_TOKENS = 12
WAYS: dict[str, dict[str, Any]] = {"in company": {}, "in chunks": {"max_num_batched_tokens": 16, "max_num_seqs": 3}}
OPTIONS = {"dtype": "float32", "max_model_len": 128, "num_threads": 1}
START_SECONDS = 120

_RUN = """
import json, sys
from weft import LLM, SamplingParams
options, prompts, count = json.load(sys.stdin)
params = SamplingParams(temperature=0, max_tokens=count, ignore_eos=True)
with LLM(use_tqdm_on_load=False, **options) as llm:
    outputs = llm.generate([{"prompt_token_ids": ids} for ids in prompts], params, use_tqdm=False)
print("TOKENS", json.dumps([list(output.outputs[0].token_ids) for output in outputs]))
"""


@dataclass(kw_only=True)
class Case:
    """One `case.toml`. Paths are relative to its folder."""

    repository: str
    file: str
    reference: str                              # a class of Transformers, or a Python file with the class `Reference`
    plugin: str | None = None                   # "module:function", installed as an entry point of vLLM's plugins
    model_file: str | None = None               # "path.py[:Class]"; one of the two
    commit: str = ""
    python_path: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)      # values of the reference's config
    written: dict[str, Any] = field(default_factory=dict)     # values of config.json that differ from it
    renamed: dict[str, str] = field(default_factory=dict)     # {pattern: replacement} of tensor names
    options: dict[str, Any] = field(default_factory=dict)     # of `LLM` and `weft serve`
    environment: dict[str, str] = field(default_factory=dict)
    note: str = ""


class TransformersReference:
    """A class of Transformers with random weights, which answers without a cache, one prompt at a time."""

    def __init__(self, case: Case) -> None:
        import torch
        import transformers

        cls = getattr(transformers, case.reference)
        torch.manual_seed(0)
        self.model = cls._from_config(cls.config_class(**case.config), dtype=torch.float32,
                                      attn_implementation="eager").eval()
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.copy_(torch.randn_like(parameter) * 0.3 + (parameter.dim() == 1))

    def config(self) -> dict[str, Any]:
        """What config.json says."""
        return self.model.config.to_dict()

    def tensors(self) -> dict[str, Any]:
        """The checkpoint's tensors; one that shares another's memory is left out."""
        shared = {name for name in getattr(self.model, "all_tied_weights_keys", None) or ()}
        return {name: tensor.contiguous() for name, tensor in self.model.state_dict().items() if name not in shared}

    def next_token(self, ids: list[int]) -> int:
        """The likeliest token after `ids`."""
        import torch

        with torch.no_grad():
            return int(self.model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())


def read_case(folder: Path) -> Case:
    """The case of a folder. ValueError for a key that is unknown or missing."""
    values = tomllib.loads((folder / "case.toml").read_text())
    try:
        case = Case(**values)
    except TypeError as error:
        raise ValueError(f"{folder / 'case.toml'}: {error}") from None
    if (case.plugin is None) == (case.model_file is None):
        raise ValueError(f"{folder / 'case.toml'}: expected one of plugin, model_file")
    return case


def reference_of(case: Case, folder: Path) -> Any:
    """The reference: an object with `config()`, `tensors()` and `next_token(ids)`."""
    if not case.reference.endswith(".py"):
        return TransformersReference(case)
    spec = importlib.util.spec_from_file_location("reference", folder / case.reference)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Reference(case.config)


def write_checkpoint(case: Case, reference: Any, directory: Path) -> Path:
    """config.json, the weights and a tokenizer of one word for each id."""
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers

    directory.mkdir()
    values = reference.config() | case.written
    (directory / "config.json").write_text(json.dumps(values))
    tensors = {}
    for name, tensor in reference.tensors().items():
        for pattern, replacement in case.renamed.items():
            name = re.sub(pattern, replacement, name)
        tensors[name] = tensor.clone()
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    size = values.get("vocab_size") or values["text_config"]["vocab_size"]
    tokenizer = Tokenizer(models.WordLevel({f"w{i}": i for i in range(size)}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    return directory


def greedy(reference: Any) -> list[list[int]]:
    """The reference's tokens after each prompt."""
    found = []
    for prompt in PROMPTS:
        ids = list(prompt)
        for _ in range(NEW_TOKENS):
            ids.append(reference.next_token(ids))
        found.append(ids[len(prompt):])
    return found


def environment(case: Case, folder: Path, work: Path) -> dict[str, str]:
    """The environment of a process in which the case's packages, and its plugin, are installed."""
    paths = [str((folder / path).resolve()) for path in case.python_path]
    if case.plugin is not None:
        info = work / "checked_plugin-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: checked-plugin\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[vllm.general_plugins]\nchecked = {case.plugin}\n")
        paths.append(str(work))
    paths += [path for path in (os.environ.get("PYTHONPATH"),) if path]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | case.environment


def options_of(case: Case, folder: Path) -> dict[str, Any]:
    """Options of `LLM`."""
    found = OPTIONS | case.options
    if case.model_file is not None:
        path, colon, name = case.model_file.partition(":")
        found = found | {"model_file": f"{(folder / path).resolve()}{colon}{name}"}
    return found


def in_process(case: Case, folder: Path, directory: Path, work: Path, more: dict[str, Any]) -> list[list[int]]:
    """The tokens of `LLM`, in a process of its own. RuntimeError with the last line of what went wrong."""
    request = json.dumps([options_of(case, folder) | {"model": str(directory)} | more, PROMPTS, NEW_TOKENS])
    done = subprocess.run([sys.executable, "-c", _RUN], input=request, capture_output=True, text=True,
                          env=environment(case, folder, work), cwd=work)
    lines = [line for line in done.stdout.splitlines() if line.startswith("TOKENS ")]
    if not lines:
        (work / "stderr.txt").write_text(done.stderr)
        raise RuntimeError(last_line(done.stderr))
    return json.loads(lines[-1][7:])


def last_line(text: str) -> str:
    """The last line of an error output."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "it ended without a word")


def served(case: Case, folder: Path, directory: Path, work: Path) -> list[list[int]]:
    """The tokens of `weft serve`, with the prompts asked at the same time and steps of 16 tokens at most."""
    import httpx

    def ask(ids: list[int]) -> list[int]:
        answer = httpx.post(f"{url}/v1/completions", timeout=120, json={
            "prompt": ids, "max_tokens": NEW_TOKENS, "temperature": 0, "ignore_eos": True, "return_token_ids": True})
        answer.raise_for_status()
        return answer.json()["choices"][0]["token_ids"]

    with serving(case, folder, directory, work) as url, ThreadPoolExecutor(len(PROMPTS)) as pool:
        return list(pool.map(ask, PROMPTS))


@contextmanager
def serving(case: Case, folder: Path, directory: Path, work: Path) -> Any:
    """`weft serve` while it lasts: its address."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    flags = [word for key, value in (options_of(case, folder) | WAYS["in chunks"]).items()
             for word in flag(key, value)]
    log = work / "serve.txt"
    with log.open("w") as out:
        server = subprocess.Popen([sys.executable, "-m", "weft.cli.main", "serve", str(directory), "--port", str(port),
                                   *flags], env=environment(case, folder, work), cwd=work, stdout=out, stderr=out)
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}", server, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=60)


def flag(key: str, value: Any) -> list[str]:
    """An option of `LLM` as words of the command line."""
    name = f"--{key.replace('_', '-')}"
    if isinstance(value, bool):
        return [name if value else f"--no-{name[2:]}"]
    return [name, json.dumps(value) if isinstance(value, dict) else str(value)]


def wait_until_healthy(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """RuntimeError when the server ends, or is not healthy in time."""
    import httpx

    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if server.poll() is not None:
            raise RuntimeError(last_line(log.read_text()))
        try:
            if httpx.get(f"{url}/health").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"the server was not healthy after {START_SECONDS} seconds")


def checked(folder: Path, *, serve: bool) -> dict[str, str]:
    """A row: what is checked, and for each way "same tokens", or what happened instead."""
    case = read_case(folder)
    row = {"name": folder.name, "repository": case.repository, "file": case.file, "reference": case.reference,
           "note": case.note}
    with tempfile.TemporaryDirectory() as path:
        work = Path(path)
        reference = reference_of(case, folder)
        directory = write_checkpoint(case, reference, work / "model")
        wanted = greedy(reference)
        ways: dict[str, Callable[[], list[list[int]]]] = {
            way: partial(in_process, case, folder, directory, work, more) for way, more in WAYS.items()}
        if serve:
            ways["served"] = partial(served, case, folder, directory, work)
        for way, run in ways.items():
            try:
                found = run()
                row[way] = "same tokens" if found == wanted else f"other tokens: {found}, not {wanted}"
            except Exception as error:
                row[way] = f"{type(error).__name__}: {error}"
                for text in (work / "stderr.txt", work / "serve.txt"):
                    if text.exists():
                        (folder / f"failed {way}.txt").write_text(text.read_text())
    return row


def markdown(rows: list[dict[str, str]]) -> str:
    """A table."""
    keys = ("repository", "file", "reference", *WAYS, "served", "note")
    lines = [f"| {' | '.join(keys)} |", "|---" * len(keys) + "|"]
    lines += [f"| {' | '.join(row.get(key, '').replace('|', chr(92) + '|') for key in keys)} |" for row in rows]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Check the cases; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--only", default="", help="names of cases, with commas between them")
    parser.add_argument("--no-serve", action="store_true", help="leave out weft serve")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there")
    options = parser.parse_args()
    names = [name for name in options.only.split(",") if name]
    folders = [path.parent for path in sorted(options.folder.glob("*/case.toml"))
               if not names or path.parent.name in names]
    rows = []
    for folder in folders:
        rows.append(checked(folder, serve=not options.no_serve))
        print(json.dumps(rows[-1]), flush=True)
    if options.markdown is not None:
        options.markdown.write_text(markdown(rows))
    ways = [*WAYS, *([] if options.no_serve else ["served"])]
    right = sum(all(row[way] == "same tokens" for way in ways) for row in rows)
    print(f"{right} of {len(rows)} give the reference's tokens")
    return int(right < len(rows) or not rows)


if __name__ == "__main__":
    sys.exit(main())
