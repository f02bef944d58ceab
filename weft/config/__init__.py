"""Options and resolved settings, and the machine. `weft.config.PoolerConfig` is a public name."""

from weft.config.pooler_config import PoolerConfig

__all__ = ["PoolerConfig"]
