"""`memory_need`: the memory that a model needs, before it is loaded: the model is built without memory and planned."""

from __future__ import annotations

from weft.checkpoint.loader import open_weights
from weft.config.engine_config import EngineConfig
from weft.engine.memory.plan import least_bytes, plan_within
from weft.engine.process.messages import MemoryNeed
from weft.models.build import build_model, layer_context


def memory_need(config: EngineConfig) -> MemoryNeed:
    """What the model needs within `config.cache.memory_bytes`, which must be set. MemoryPlanError if it is too little.

    Reads config files and the headers of weight files.
    """
    limit = config.cache.memory_bytes
    assert limit is not None, "a need is measured where there is a limit for several models"
    model = build_model(config, layer_context(config), open_weights(config.model, config.load))
    plan = plan_within(model, config, limit, "what there is for all models together")
    return MemoryNeed(plan.total_bytes, least_bytes(model, config, plan))
