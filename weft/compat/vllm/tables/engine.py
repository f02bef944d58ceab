"""What scripts and plugins use of the engine: LLM, parameters, outputs."""

from __future__ import annotations

from weft.compat.vllm.tables.row import Row

ENGINE = (
    Row("weft", "LLM LLMEngine AsyncLLMEngine EngineArgs AsyncEngineArgs SamplingParams PoolingParams PromptType "
        "TextPrompt TokensPrompt RequestOutput CompletionOutput PoolingOutput PoolingRequestOutput EmbeddingOutput "
        "EmbeddingRequestOutput", "vllm"),
    Row("weft", "LLM", "vllm.entrypoints.llm"),
    Row("weft", "LLMEngine", "vllm.engine.llm_engine", "vllm.v1.engine.llm_engine"),
    Row("weft", "AsyncLLMEngine", "vllm.engine.async_llm_engine"),
    Row("weft", "AsyncLLM", "vllm.v1.engine.async_llm"),
    Row("weft", "EngineArgs AsyncEngineArgs", "vllm.engine.arg_utils"),
    Row("weft", "SamplingParams BeamSearchParams RequestOutputKind", "vllm.sampling_params"),
    Row("weft.repetition_detection", "RepetitionDetectionParams", "vllm.sampling_params"),
    Row("weft", "PoolingParams", "vllm.pooling_params"),
    Row("weft", "PromptType TextPrompt TokensPrompt", "vllm.inputs", "vllm.inputs.data", "vllm.inputs.llm"),
    Row("weft", "RequestOutput CompletionOutput PoolingOutput PoolingRequestOutput EmbeddingOutput "
        "EmbeddingRequestOutput", "vllm.outputs"),
    Row("weft", "Logprob", "vllm.logprobs", "vllm.sequence"),
    Row("weft.engine.logits_processors.interface", "LogitsProcessor AdapterLogitsProcessor BatchUpdate "
        "MoveDirectionality RequestLogitsProcessor", "vllm.v1.sample.logits_processor",
        "vllm.v1.sample.logits_processor.interface"),
    Row("weft", "BeamSearchSequence BeamSearchOutput", "vllm.beam_search"),
)
