"""The rows of vLLM's engine: `LLM`, `EngineArgs`, and the engine's flags of `vllm serve`."""

from __future__ import annotations

from weft.compat.vllm.options import engine_extras, engine_machine, engine_memory, engine_model
from weft.compat.vllm.options.row import table

ENGINE = table(engine_model.ROWS, engine_machine.ROWS, engine_memory.ROWS, engine_extras.ROWS)
