"""The small model that ships inside weft: a Transformers checkpoint in this folder, described in its README.md."""

from pathlib import Path


def path() -> Path:
    """The folder of the checkpoint."""
    return Path(__file__).resolve().parent
