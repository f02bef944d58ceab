"""A real engine whose process ends once, in the middle of its answers: for tests of what comes after a restart."""

from __future__ import annotations

import os
from pathlib import Path

from weft.config.engine_config import EngineConfig
from weft.engine.core import EngineCore
from weft.engine.process.messages import StepResult

CORE = "dying_engine:DyingOnce"
STEPS = 12


class DyingOnce(EngineCore):
    """Ends its process after twelve steps, unless the model's folder says that it has done so before."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config)
        self._mark = Path(config.model.path) / "died"

    def step(self) -> StepResult:
        if self.stats.num_steps == STEPS and not self._mark.exists():
            self._mark.write_text(f"{self.stats.num_drafts} drafts")
            os._exit(9)
        return super().step()
