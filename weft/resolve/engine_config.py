"""`resolve_engine_config`: turns the user's options and the machine's facts into a complete `EngineConfig`.

The one place where "automatic" gets its value. Reads a model's config files; knows no tensors and no architecture.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from weft.compat.vllm.version import ANSWER
from weft.config.engine_args import DTYPES, EngineArgs
from weft.config.engine_config import (
    CacheConfig,
    EngineConfig,
    LoadConfig,
    MediaConfig,
    ModelConfig,
    SchedulerConfig,
    TokenizerConfig,
)
from weft.config.isa import resolve_isa
from weft.config.machine import Machine
from weft.config.media import read_limits, read_local_path, read_processor_kwargs
from weft.config.pooler_config import read_pooler_config
from weft.config.speculative import read_speculative_config
from weft.config.threads import resolve_threads
from weft.errors import ConfigError, NotBuiltError
from weft.extend.named_object import portable
from weft.extend.plugins import load_plugins, tell_unused
from weft.resolve.config_file import HFConfig
from weft.resolve.files import ModelFiles, find_model, find_tokenizer
from weft.resolve.fixups import fix_engine_config
from weft.resolve.formats import MISTRAL_CONFIG_NAME, MISTRAL_WEIGHTS
from weft.resolve.hf.prompts import lowers_case
from weft.resolve.model_config import read_model_config
from weft.resolve.options.dtype import resolve_dtype
from weft.resolve.options.generation import (
    decoder_token_ids,
    eos_token_ids,
    sampling_defaults,
    sampling_origins,
)
from weft.resolve.options.max_len import resolve_max_len
from weft.resolve.options.model_code import model_code
from weft.resolve.options.quantization import check_activation_dtype, find_quantization
from weft.resolve.sizes import MAX_VOCAB_SIZE

# Tokens and sequences in a step, by default, for an engine used from Python on CPU. The server sets its own defaults.
MAX_NUM_BATCHED_TOKENS = 4096
MAX_NUM_SEQS = 256


def resolve_engine_config(args: EngineArgs, machine: Machine) -> EngineConfig:
    """The settings of one engine. ConfigError, NotBuiltError or CheckpointError when the inputs do not fit together."""
    isa = resolve_isa(args.cpu_isa, machine.isa)
    threads, cpus = resolve_threads(args.num_threads, machine)
    ANSWER.choose(args.vllm_version, args.vllm_modules)
    load_plugins(args.plugins)
    tell_unused(args.plugins)
    files = find_model(args)
    model = resolve_model(args, files)
    check_activation_dtype(args.activation_dtype, args.quantization, model.quantization, files)
    return fix_engine_config(EngineConfig(
        model=model,
        tokenizer=_tokenizer(args, files),
        cache=CacheConfig(dtype=_cache_dtype(args.kv_cache_dtype, model.dtype), block_size=args.block_size,
                          enable_prefix_caching=args.enable_prefix_caching,
                          kv_cache_memory_bytes=args.kv_cache_memory_bytes,
                          memory_utilization=args.gpu_memory_utilization),
        scheduler=_scheduler(args, model),
        load=LoadConfig(load_format=_load_format(args, files, model), quantization=args.quantization,
                        activation_dtype=args.activation_dtype, use_tqdm=args.use_tqdm_on_load),
        num_threads=threads.value, cpus=cpus.value, cpu_isa=isa.value, enforce_eager=args.enforce_eager,
        speculative=read_speculative_config(args.speculative_config),
        origins={"num_threads": threads.source, "cpus": cpus.source, "cpu_isa": isa.source},
        media=MediaConfig(limits=read_limits(args.limit_mm_per_prompt),
                          processor_kwargs=read_processor_kwargs(args.mm_processor_kwargs),
                          allowed_local_path=read_local_path(args.allowed_local_media_path),
                          allowed_domains=args.allowed_media_domains, allowed_networks=args.allowed_media_networks,
                          fetch_timeout=args.media_fetch_timeout, max_image_bytes=args.max_image_bytes,
                          max_image_pixels=args.max_image_pixels),
        served_model_names=args.served_model_name or (model.name,), plugins=args.plugins,
        logits_processors=tuple(portable(value) for value in args.logits_processors),
        vllm_version=args.vllm_version, vllm_modules=args.vllm_modules,
    ))


def resolve_model(args: EngineArgs, files: ModelFiles) -> ModelConfig:
    """The model's config, from its files and the options about it."""
    config = read_model_config(args, files.directory, files.gguf)
    dtype, dtype_source = resolve_dtype(args.dtype, config, files.directory)
    max_len, is_fixed, len_source = resolve_max_len(args.max_model_len, config, files.directory,
                                                    disable_sliding_window=args.disable_sliding_window)
    vocab_size = _vocab_size(config)
    defaults = sampling_defaults(args.generation_config, args.override_generation_config, files.directory)
    default_sources = sampling_origins(defaults, args.generation_config, args.override_generation_config,
                                       files.directory)
    return ModelConfig(
        name=files.name, path=str(files.gguf or files.directory), architecture=config.architecture,
        hf_config=config.values, config_source=config.source, dtype=dtype, max_model_len=max_len,
        is_max_model_len_fixed=is_fixed, vocab_size=vocab_size,
        eos_token_ids=eos_token_ids(args.generation_config, config, files.directory, vocab_size),
        origins=config.origins | default_sources | {"dtype": dtype_source, "max_model_len": len_source,
                                                    "model_path": files.source},
        generation_defaults=defaults,
        **_decoder_start(args, config, files, vocab_size),
        quantization=find_quantization(config, files, args.quantization),
        **model_code(args), model_impl=args.model_impl, trust_remote_code=args.trust_remote_code,
        code_revision=args.code_revision,
        seed=args.seed, max_logprobs=args.max_logprobs, logprobs_mode=args.logprobs_mode,
        enable_prompt_embeds=args.enable_prompt_embeds,
        reasoning_parser=args.reasoning_parser, enable_in_reasoning=args.enable_in_reasoning,
        runner=args.runner, convert=args.convert, pooler_config=read_pooler_config(args.pooler_config),
    )


def _decoder_start(args: EngineArgs, config: HFConfig, files: ModelFiles, vocab_size: int) -> dict[str, Any]:
    """Fields of a ModelConfig about a decoder beside an encoder; {} for other models."""
    if not config.values.get("is_encoder_decoder"):
        return {}
    return decoder_token_ids(args.generation_config, config, files.directory, vocab_size)


def _cache_dtype(wanted: str, model_dtype: str) -> str:
    """The dtype of the KV cache. Of the 16 and 32 bit floats only the model's own dtype is built."""
    if wanted in DTYPES and wanted != model_dtype:
        raise NotBuiltError("kv_cache_dtype", wanted, expected=f"auto, or {model_dtype}, the model's dtype, or 8 bits",
                            hint=f"Set dtype to {wanted} too. Keys and values may be fp8_e4m3 or int8_per_token_head.")
    return model_dtype if wanted == "auto" else wanted


def _vocab_size(config: HFConfig) -> int:
    value = config.text.get("vocab_size", config.text.get("tgt_vocab_size"))       # FSMT has one for each language
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < MAX_VOCAB_SIZE:
        raise ConfigError(f"{config.text_path}vocab_size", value, expected=f"an integer from 1 to {MAX_VOCAB_SIZE - 1}",
                          source=config.source)
    return value


def _tokenizer(args: EngineArgs, files: ModelFiles) -> TokenizerConfig:
    path = None if args.skip_tokenizer_init else str(find_tokenizer(args, files))
    return TokenizerConfig(path=path, mode=args.tokenizer_mode, trust_remote_code=args.trust_remote_code,
                           lowers_case=lowers_case(files.directory), chat_template=_template(args.chat_template))


def _load_format(args: EngineArgs, files: ModelFiles, model: ModelConfig) -> str:
    """The option; where it is auto: "mistral" if the config is Mistral's and its weight files exist, else "auto"."""
    is_mistral = Path(model.config_source).name == MISTRAL_CONFIG_NAME and files.gguf is None
    has_weights = is_mistral and any(files.directory.glob(MISTRAL_WEIGHTS))
    return "mistral" if args.load_format == "auto" and has_weights else args.load_format


def _template(template: str | None) -> str | None:
    """A template's path, made absolute because the engine may run in another folder; a template's text unchanged."""
    if template is None or "\n" in template or "{" in template:
        return template
    path = Path(template).expanduser()
    if not path.is_file():
        raise ConfigError("chat_template", template, expected="a template ({{ ... }}) or the path of a file with one")
    return str(path.resolve())


def _scheduler(args: EngineArgs, model: ModelConfig) -> SchedulerConfig:
    max_num_tokens = args.max_num_batched_tokens or MAX_NUM_BATCHED_TOKENS
    if not args.enable_chunked_prefill and max_num_tokens < model.max_model_len:
        if args.max_num_batched_tokens is not None:
            raise ConfigError("max_num_batched_tokens", max_num_tokens, expected=f"at least max_model_len = "
                              f"{model.max_model_len} without chunked prefill", hint="Set one of the three.")
        max_num_tokens = model.max_model_len
    max_num_seqs = args.max_num_seqs or min(MAX_NUM_SEQS, max_num_tokens)
    if max_num_tokens < max_num_seqs:
        if args.max_num_batched_tokens is not None:
            raise ConfigError("max_num_batched_tokens", max_num_tokens,
                              expected=f"at least max_num_seqs = {max_num_seqs}",
                              hint="Each running sequence needs a token of every step.")
        max_num_tokens = max_num_seqs
    return SchedulerConfig(
        max_num_seqs=max_num_seqs, max_num_batched_tokens=max_num_tokens, policy=args.scheduling_policy,
        enable_chunked_prefill=args.enable_chunked_prefill,
        long_prefill_token_threshold=args.long_prefill_token_threshold, prefill_slowdown=args.prefill_slowdown,
        max_num_queued_reqs=args.max_num_queued_reqs, max_num_queued_tokens=args.max_num_queued_tokens,
    )
