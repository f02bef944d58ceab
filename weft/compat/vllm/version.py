"""What this process answers to `import vllm`: whose modules, and which version they say they are.

One object for the process, because `vllm.__version__` is one value in a process. The engine's options set it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.machinery import PathFinder

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


def is_installed() -> bool:
    """Whether the real vLLM can be imported."""
    return PathFinder.find_spec("vllm") is not None


def version_tuple(version: str) -> tuple[int | str, ...]:
    """(0, 32, 0) for "0.32.0"; parts that are no numbers stay text."""
    return tuple(int(part) if part.isdigit() else part for part in version.replace("+", ".").split("."))
