"""What this process answers to `import vllm`: whose modules, and which version they say they are.

One object for the process, because `vllm.__version__` is one value in a process. The engine's options set it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from weft.config.engine_args import VLLM_VERSION


@dataclass(slots=True)
class Answer:
    """version: `vllm.__version__`. source: whose modules, one of VLLM_MODULES."""

    version: str = VLLM_VERSION
    source: str = "auto"

    def choose(self, version: str, source: str) -> None:
        """From now on, answer so."""
        self.version, self.source = version, source

    @property
    def is_weft(self) -> bool:
        """Whether `import vllm` in a plugin or model file means weft's modules."""
        return self.source == "weft" or (self.source == "auto" and not is_installed())


ANSWER = Answer()
SHIM = Path(__file__).parent / "shim"      # on the path of scripts' child processes; holds a `vllm`


def is_installed() -> bool:
    """Whether the real vLLM can be imported. `shim/`, first on the path of a script that runs on weft, is not real; nor
    is a folder of this name without an __init__.py.
    """
    found = PathFinder.find_spec("vllm")
    return found is not None and found.origin is not None and str(SHIM) not in found.origin


def version_tuple(version: str) -> tuple[int | str, ...]:
    """(0, 32, 0) for "0.32.0"; parts that are no numbers stay text."""
    return tuple(int(part) if part.isdigit() else part for part in version.replace("+", ".").split("."))
