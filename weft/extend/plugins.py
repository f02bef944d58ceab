"""Plugins: functions of installed packages, run once in every process, that register parsers, models and the like.

A plugin is an entry point of the group `weft.plugins`. One that fails is logged and left out: the rest still run.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from importlib.metadata import entry_points

GROUP = "weft.plugins"

logger = logging.getLogger("weft")


def load_plugins(names: Collection[str] | None) -> tuple[str, ...]:
    """Run the plugins of these names (None: all); the names of those that ran. A name that nobody has is logged."""
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    ran = []
    for name in sorted(found) if names is None else names:
        if name not in found:
            logger.warning("plugin %s is not installed; there are: %s", name, ", ".join(sorted(found)) or "none")
            continue
        try:
            found[name].load()()
        except Exception:      # whatever a plugin does wrong is its own affair
            logger.exception("plugin %s failed and is left out", name)
            continue
        logger.info("plugin %s loaded", name)
        ran.append(name)
    return tuple(ran)
