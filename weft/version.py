"""The version of weft, alone in its file so that `weft --version` reads nothing else."""

__version__ = "0.1.0"
