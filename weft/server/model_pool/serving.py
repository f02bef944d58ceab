"""`served_model`: what routes need of a loaded model, made of its engine."""

from __future__ import annotations

from weft.async_llm import AsyncLLM
from weft.frontend.defaults import default_sampling_params
from weft.frontend.metrics import EngineMetrics
from weft.server.audit import Audit
from weft.server.fingerprint import fingerprint_of
from weft.server.model_pool.entry import ModelEntry
from weft.server.request_log import RequestLog
from weft.server.served import ServedModel
from weft.server.traces import RequestSpans, Tracing
from weft.server.work import Work
from weft.text.parsing.parsers import choose_parsers


def served_model(entry: ModelEntry, engine: AsyncLLM, audit: Audit, work: Work,
                 tracing: Tracing | None = None) -> ServedModel:
    """The model of `entry`, which runs in `engine`.

    ConfigError if the model's generation config has values out of range, or a parser's name is unknown.
    """
    default_sampling_params(engine.config)
    options = entry.spec.options
    parsers = choose_parsers(engine.tokenizer, tools=options.tool_call_parser,
                             reasoning=engine.config.model.reasoning_parser)
    if entry.metrics is None:
        entry.metrics = EngineMetrics(entry.name, engine.info.max_model_len, lambda: entry.stats,
                                      lambda: entry.sleep_state)
    entry.metrics.engine_started(engine.config, engine.info)
    served = ServedModel(engine, options, entry.metrics, entry.spec.names, audit, work, parsers,
                         fingerprint_of(engine.config, options))
    engine.add_observer(served.metrics)
    engine.add_observer(served.pace)
    if options.enable_log_requests:
        engine.add_observer(RequestLog(served.names[0], served.open, engine.tokenizer, max_chars=options.max_log_len,
                                       shows_outputs=options.enable_log_outputs))
    if tracing is not None:
        engine.add_observer(RequestSpans(served.open, tracing, served.names[0]))
    return served
