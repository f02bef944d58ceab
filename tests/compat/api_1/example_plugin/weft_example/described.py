"""A description: Llama, in weft's parts."""

from weft.architectures.parts import LLAMA_NAMES, attention, decoder, gated_mlp, rms_norm, rope
from weft.architectures.registry import architecture
from weft.architectures.spec import BlockSpec


@architecture("DescribedExampleForCausalLM")
def described(c):
    """An example. Source: config.json of a Llama."""
    norm = rms_norm(c)
    block = BlockSpec(mixer=attention(c, positions=rope(c)), ffn=gated_mlp(c), mixer_norm=norm, ffn_norm=norm)
    return decoder(c, blocks=[block] * c.positive("num_hidden_layers"), final_norm=norm, names=LLAMA_NAMES)
