"""What scripts use besides the engine: parsers of command lines, and small helpers."""

from __future__ import annotations

from weft.compat.vllm.tables.row import Row

SCRIPTS = (
    Row("weft.cli.flexible", "FlexibleArgumentParser", "vllm.utils", "vllm.utils.argparse_utils"),
    Row("weft.compat.vllm.helpers", "random_uuid Counter", "vllm.utils"),
    Row("weft.compat.vllm.helpers", "random_uuid", "vllm.utils.uuid_utils"),
    Row("weft.compat.vllm.helpers", "token_inputs", "vllm.inputs", "vllm.inputs.data", "vllm.inputs.llm"),
    Row("weft.compat.vllm.helpers", "Counter", "vllm.utils.counter"),
    Row("weft.compat.vllm.helpers", "zip_enc_dec_prompts", "vllm.inputs", "vllm.inputs.data", "vllm.utils"),
    Row("weft.compat.vllm.helpers", "get_tokenizer", "vllm.transformers_utils.tokenizer", "vllm.tokenizers"),
    Row("weft.compat.vllm.helpers", "cleanup_dist_env_and_memory", "vllm.distributed",
        "vllm.distributed.parallel_state"),
    Row("weft.compat.vllm.helpers", "destroy_model_parallel destroy_distributed_environment",
        "vllm.distributed.parallel_state", "vllm.model_executor.parallel_utils.parallel_state"),
    Row("weft.compat.vllm.helpers", "UsageContext", "vllm.usage.usage_lib"),
    Row("weft.compat.vllm.helpers", "load_chat_template", "vllm.entrypoints.chat_utils"),
)
