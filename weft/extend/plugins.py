"""Plugins: functions of installed packages that register parsers, models and the like, run once in every process.

A plugin is an entry point of the group `weft.plugins`, or of vLLM's group `vllm.general_plugins`; its files get weft's
objects from `import vllm…`. A plugin that fails is logged and skipped; the rest still run.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from importlib.metadata import EntryPoint, entry_points

from weft.compat.vllm.finder import answering

GROUPS = ("vllm.general_plugins", "weft.plugins")      # of two plugins with one name, the last group's runs

logger = logging.getLogger("weft")


def load_plugins(names: Collection[str] | None) -> tuple[str, ...]:
    """Run the plugins with these names (None: all installed). Returns the names that ran; unknown names are logged."""
    found = installed(*GROUPS)
    ran = []
    for name in sorted(found) if names is None else names:
        if name not in found:
            logger.warning("plugin %s is not installed; there are: %s", name, ", ".join(sorted(found)) or "none")
            continue
        try:
            with answering():
                found[name].load()()
        except Exception:      # a plugin's error must not stop the engine
            logger.exception("plugin %s failed and is left out", name)
            continue
        logger.info("plugin %s loaded", name)
        ran.append(name)
    return tuple(ran)


def installed(*groups: str) -> dict[str, EntryPoint]:
    """{name: entry point} of the groups; of two with one name, that of the last group."""
    return {entry.name: entry for group in groups for entry in entry_points(group=group)}
