"""Plugins: functions of installed packages that register parsers, models and the like, run once in every process.

A plugin is an entry point of the group `weft.plugins`. A plugin that fails is logged and skipped; the rest still run.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from importlib.metadata import entry_points

GROUP = "weft.plugins"

logger = logging.getLogger("weft")


def load_plugins(names: Collection[str] | None) -> tuple[str, ...]:
    """Run the plugins with these names (None: all installed). Returns the names that ran; unknown names are logged."""
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    ran = []
    for name in sorted(found) if names is None else names:
        if name not in found:
            logger.warning("plugin %s is not installed; there are: %s", name, ", ".join(sorted(found)) or "none")
            continue
        try:
            found[name].load()()
        except Exception:      # a plugin's error must not stop the engine
            logger.exception("plugin %s failed and is left out", name)
            continue
        logger.info("plugin %s loaded", name)
        ran.append(name)
    return tuple(ran)
