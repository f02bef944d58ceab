"""StarCoder 2: LayerNorm, biases everywhere, an MLP without a gate, one window for all layers."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.gguf_names import gguf_names
from weft.architectures.parts import attention, decoder, layer_norm, layer_windows, llama_names, rope, sliding_window
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import BlockSpec, DecoderSpec, MLPSpec

_NAMES = llama_names({
    "model.layers.{i}.mlp.c_fc": "blocks.{i}.ffn.up",
    "model.layers.{i}.mlp.c_proj": "blocks.{i}.ffn.down",
})


@architecture("Starcoder2ForCausalLM")
def starcoder2(c: ConfigReader) -> DecoderSpec:
    """StarCoder 2. Source: arXiv:2402.19173; config.json of bigcode/starcoder2-3b."""
    norm, bias = layer_norm(c), c.bool("use_bias", default=True)
    ffn = MLPSpec(intermediate_size=c.positive("intermediate_size"), gated=False, bias=bias,
                  act=keys.activation(c, default="gelu_pytorch_tanh"))
    c.expect("mlp_type", "default")
    c.expect("norm_type", "layer_norm")
    c.harmless("residual_dropout")
    blocks = [
        BlockSpec(mixer=attention(c, positions=rope(c), qkv_bias=bias, out_bias=bias, window=window), ffn=ffn,
                  mixer_norm=norm, ffn_norm=norm)
        for window in layer_windows(c, sliding_window(c))
    ]
    return decoder(c, blocks=blocks, final_norm=norm, names=_NAMES, tied=True, gguf=gguf_names())
