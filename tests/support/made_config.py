"""`made_config`: an EngineConfig without files, for tests that read sizes from one."""

from weft.config.engine_config import (
    CacheConfig,
    EngineConfig,
    LoadConfig,
    ModelConfig,
    SchedulerConfig,
    TokenizerConfig,
)


def made_config(*, length=1024, fixed=False, seqs=4, tokens=64, **cache) -> EngineConfig:
    """length: of the longest sequence. fixed: the user set it. seqs, tokens: of a step. cache: of CacheConfig."""
    return EngineConfig(
        model=ModelConfig(name="m", path=".", architecture="A", hf_config={}, dtype="float32", max_model_len=length,
                          is_max_model_len_fixed=fixed, vocab_size=100, eos_token_ids=()),
        tokenizer=TokenizerConfig(path=None), load=LoadConfig(), num_threads=1, served_model_names=("m",),
        cache=CacheConfig(dtype="float32", **cache),
        scheduler=SchedulerConfig(max_num_seqs=seqs, max_num_batched_tokens=tokens))
