"""`MemoryNodes`: the memory nodes (NUMA) that packed weights are divided among, as the kernels see them (csrc/nodes.h).

A node holds a part of every weight's column groups, in proportion to its CPUs. The pages are moved to the node when the
weight is packed. A thread of a kernel first takes groups of the node that it runs on. Results never depend on nodes.
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

PANEL = 32                     # rows of a panel of a packed matrix; csrc/limits.h


class MemoryNodes:
    """The nodes of one engine.

    refused: why the system did not move pages, or None. After a refusal no more pages are moved.
    """

    def __init__(self, nodes: Sequence[NumaNode]) -> None:
        self.native: Any = extension().Nodes([(node.number, list(node.cpus)) for node in nodes])
        self.refused: str | None = None

    def place(self, tensors: Iterable[Tensor], rows: int, *, gated: bool) -> None:
        """Move the pages of a packed weight's tensors to their nodes. rows: rows of the weight with padding.

        A refusal by the system is one warning: results are the same, but threads read from more distant memory.
        """
        groups = rows // (2 * PANEL)    # a column group is two panels (gated: one gate panel and its up panel)
        for tensor in tensors:
            if self.refused is None:
                self._note(extension().place_panels(self.native, tensor.data_ptr(), tensor.nbytes, groups, gated))

    def _note(self, code: int) -> None:
        if code:
            self.refused = os.strerror(code)
            logger.warning("weights stay on the memory nodes where they are: the system does not move pages (%s). "
                           "A container may need the capability SYS_NICE for it.", self.refused)
