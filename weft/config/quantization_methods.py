"""Names of quantization methods: the ones whose checkpoints weft reads, aliases, and known ones that it cannot read.

`checkpoint/quantization/registry.py` has the code behind the names; a test compares the two lists.
"""

from __future__ import annotations

from weft.errors import ConfigError, NotBuiltError

READ = ("awq", "bitsandbytes", "compressed-tensors", "fp8", "gptq", "modelopt", "mxfp4")
GGUF = "gguf"                         # recognized by the file itself; no config names it
AT_LOAD = ("int8", "int4", "w8a8", "w4a8")    # a float checkpoint is quantized while it is loaded
ALIASES = {
    "auto_awq": "awq", "awq_marlin": "awq", "auto_gptq": "gptq", "gptq_marlin": "gptq",
    "compressed_tensors": "compressed-tensors", "modelopt_fp4": "modelopt", "fbgemm_fp8": "fp8",
}
# Methods of vLLM or Transformers, for checkpoints or for quantizing at load, that weft has no code for.
NOT_BUILT = (
    "aqlm", "auto-round", "bitnet", "eetq", "experts_int8", "fp8_per_block", "fp8_per_channel", "fp8_per_tensor",
    "fp_quant", "gguf", "higgs", "hqq", "inc", "int8_per_channel_weight_only", "modelopt_mixed", "modelopt_mxfp8",
    "moe_wna16", "mxfp8", "nvfp4_per_token", "quanto", "quark", "spqr", "torchao", "vptq",
)


def at_load(method: str | None) -> str | None:
    """The user's method if it is one that quantizes floats while they are loaded, else None."""
    return method if method in AT_LOAD else None


def method_named(name: object, *, field: str, source: str = "", is_option: bool = False) -> str:
    """The method that a name or an alias stands for.

    NotBuiltError for a method that weft has no code for, ConfigError for any other name.
    is_option: the name is the user's option, where "gguf" and the methods of AT_LOAD are allowed too.
    """
    known = (*READ, GGUF, *AT_LOAD) if is_option else READ
    method = ALIASES.get(name, name) if isinstance(name, str) else None
    if method is not None and method in known:
        return method
    expected = f"one of {', '.join(known)}"
    if method in NOT_BUILT:
        raise NotBuiltError(field, name, expected=expected, source=source,
                            hint="weft has no code for this method yet: take another checkpoint of the model.")
    raise ConfigError(field, name, expected=expected, source=source)
