"""One table of every option of vLLM 0.6 to 0.33, and what weft does with each: `accept` applies it.

    engine_*.py   `LLM`, `EngineArgs` and the engine's flags of `vllm serve`
    serve.py      the other flags of `vllm serve`
    sampling.py   `SamplingParams` and `BeamSearchParams`
    pooling.py    `PoolingParams`
    requests.py   fields of HTTP bodies

`EngineArgs`, the parameters, the command line and the server ask the table; docs/coming-from-vllm.md is made of it.
This floor knows errors only, and imports nothing from above.
"""
