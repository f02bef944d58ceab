"""Plugins: functions of installed packages that register parsers, models and the like, run once in every process.

A plugin is an entry point of the group `weft.plugins`, or of vLLM's group `vllm.general_plugins`; its files get weft's
objects from `import vllm…`. A plugin that fails is logged and skipped; the rest still run.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from importlib.metadata import EntryPoint, entry_points

from weft.compat.vllm.finder import answering
from weft.extend.model_api import check_model_api
from weft.extend.user_frame import told_with_place

UNUSED_GROUP = "vllm.io_processor_plugins"
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
            _run(found[name])
        except (Exception, SystemExit) as error:      # a plugin's error must not stop the engine
            logger.error("plugin %s (%s) failed and is left out: %s", name, found[name].value, told_with_place(error))
            logger.debug("plugin %s", name, exc_info=error)
            continue
        logger.info("plugin %s loaded", name)
        ran.append(name)
    return tuple(ran)


def tell_unused(names: Collection[str] | None) -> None:
    """Log which installed plugins have no use here: processors of inputs and outputs, of a group of vLLM's."""
    for name, plugin in sorted(installed(UNUSED_GROUP).items()):
        if names is None or name in names:
            logger.warning("plugin %s (%s) is not used: processors of inputs and outputs of pooling models (%s) are "
                           "not built yet", name, plugin.value, UNUSED_GROUP)


def _run(plugin: EntryPoint) -> None:
    """Load the plugin and call it, if it is a function; one that is a module has done its work when it is imported."""
    with answering():
        loaded = plugin.load()
        check_model_api(loaded, plugin.value)
        if callable(loaded):
            loaded()


def installed(*groups: str) -> dict[str, EntryPoint]:
    """{name: entry point} of the groups; of two with one name, that of the last group."""
    return {entry.name: entry for group in groups for entry in entry_points(group=group)}
