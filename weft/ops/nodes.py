"""`MemoryNodes`: the nodes among which packed weights are divided, as the kernels know them (csrc/nodes.h).

A node has a part of every weight's column groups, in proportion to its CPUs. Their pages are moved next to it when the
weight is packed, and the kernels let a thread take groups of the node it runs on first. No number depends on it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from weft.config.topology import NumaNode
from weft.ops.native import extension

logger = logging.getLogger("weft")

PANEL = 32                     # rows of a packed matrix in a panel; csrc/limits.h


class MemoryNodes:
    """The nodes of one engine. refused: why the system would not move pages, or None; then it is asked no more."""

    def __init__(self, nodes: Sequence[NumaNode]) -> None:
        self.native: Any = extension().Nodes([(node.number, list(node.cpus)) for node in nodes])
        self.refused: str | None = None

    def place(self, tensors: Iterable[Tensor], rows: int, *, gated: bool) -> None:
        """Move pages of a packed weight's tensors to their nodes. rows: of the weight, with padding.

        A refusal is a warning, once: results are the same and threads read from farther away.
        """
        groups = rows // (2 * PANEL)                         # two panels each, also of a gate and what it is a gate of
        for tensor in tensors:
            if self.refused is None:
                self._note(extension().place_panels(self.native, tensor.data_ptr(), tensor.nbytes, groups, gated))

    def _note(self, code: int) -> None:
        if code:
            self.refused = os.strerror(code)
            logger.warning("weights stay on the memory nodes where they are: the system does not move pages (%s). "
                           "A container may need the capability SYS_NICE for it.", self.refused)
