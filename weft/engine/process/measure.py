"""`measure`: asks a spare process how much memory a model needs, before that process loads it."""

from __future__ import annotations

import msgspec

from weft.config.engine_config import EngineConfig
from weft.engine.process.child import start_message
from weft.engine.process.messages import MemoryNeed
from weft.engine.process.spare import Spare
from weft.engine.process.wire import Channel, Failed, FromEngine, Measured, from_wire
from weft.errors import EngineDeadError


def measure(config: EngineConfig, spare: Spare) -> MemoryNeed:
    """The model's need within `config.cache.memory_bytes`. The spare stays one, unless the need cannot be told.

    Raises the engine's own error (MemoryPlanError, ConfigError, CheckpointError), or EngineDeadError if the process has
    ended.
    """
    channel = Channel(spare.sock)
    try:
        channel.send(start_message(config, only_measures=True))
        while True:
            for frame in channel.receive(timeout_ms=None):
                message = msgspec.msgpack.decode(frame, type=FromEngine)
                if isinstance(message, Failed):
                    raise from_wire(message.error)
                if isinstance(message, Measured):
                    return message.need
    except (EOFError, OSError) as error:
        raise EngineDeadError("The engine process ended before it could say what memory the model needs.") from error
