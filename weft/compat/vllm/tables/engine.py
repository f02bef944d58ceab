"""What scripts and plugins use of the engine: LLM, parameters, outputs."""

from __future__ import annotations

from weft.compat.vllm.tables.row import Row

ENGINE = (
    Row("weft", "LLM LLMEngine AsyncLLMEngine EngineArgs AsyncEngineArgs SamplingParams PoolingParams "
        "RequestOutput CompletionOutput PoolingOutput PoolingRequestOutput EmbeddingOutput "
        "EmbeddingRequestOutput ClassificationOutput ClassificationRequestOutput ScoringOutput ScoringRequestOutput",
        "vllm"),
    Row("weft", "LLM", "vllm.entrypoints.llm"),
    Row("weft", "LLMEngine", "vllm.engine.llm_engine", "vllm.v1.engine.llm_engine"),
    Row("weft", "AsyncLLMEngine", "vllm.engine.async_llm_engine"),
    Row("weft", "AsyncLLM", "vllm.v1.engine.async_llm"),
    Row("weft", "EngineArgs AsyncEngineArgs", "vllm.engine.arg_utils"),
    Row("weft", "SamplingParams BeamSearchParams RequestOutputKind", "vllm.sampling_params"),
    Row("weft.structured_outputs", "StructuredOutputsParams GuidedDecodingParams=StructuredOutputsParams",
        "vllm.sampling_params"),
    Row("weft.repetition_detection", "RepetitionDetectionParams", "vllm.sampling_params"),
    Row("weft", "PoolingParams", "vllm.pooling_params"),
    Row("weft.frontend.prompts", "PromptType TextPrompt TokensPrompt EmbedsPrompt ExplicitEncoderDecoderPrompt",
        "vllm", "vllm.inputs", "vllm.inputs.data", "vllm.inputs.llm"),
    Row("weft", "RequestOutput CompletionOutput PoolingOutput PoolingRequestOutput EmbeddingOutput "
        "EmbeddingRequestOutput ClassificationOutput ClassificationRequestOutput ScoringOutput ScoringRequestOutput",
        "vllm.outputs"),
    Row("weft", "Logprob", "vllm.logprobs", "vllm.sequence"),
    Row("weft.outputs", "PromptLogprobs SampleLogprobs", "vllm.logprobs", "vllm.sequence"),
    Row("weft.engine.logits_processors.interface", "LogitsProcessor AdapterLogitsProcessor BatchUpdate "
        "MoveDirectionality RequestLogitsProcessor", "vllm.v1.sample.logits_processor",
        "vllm.v1.sample.logits_processor.interface"),
    Row("weft.engine.logits_processors.interface", "process_dict_updates",
        "vllm.v1.sample.logits_processor.builtin"),
    Row("weft.frontend.metrics_list", "Metric Counter Gauge Histogram Vector", "vllm.v1.metrics.reader"),
    Row("weft", "BeamSearchSequence BeamSearchOutput", "vllm.beam_search"),
)
