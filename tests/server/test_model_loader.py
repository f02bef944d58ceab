"""`EngineLoader`: the processes in which a pool's models are measured and loaded."""

from __future__ import annotations

import pytest
from toy_engine import CORE, make_config

from weft.engine.process.spare import Spare, Spares
from weft.errors import EngineDeadError
from weft.server.model_pool.loader import EngineLoader


def test_a_process_that_is_started_while_the_server_ends_is_ended_too():
    class Late(Spares):
        def take(self) -> Spare:
            loader.kill()
            return super().take()

    spares = Late(CORE, keeps=False)
    loader = EngineLoader(spares, budget_bytes=2**30)
    try:
        with pytest.raises(EngineDeadError, match="ended before it could say"):
            loader.measure(make_config(None))
    finally:
        loader.close()
