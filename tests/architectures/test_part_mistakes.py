"""A mistake in a description is one line: the part's field, the value, file and line, and what would be right."""

from __future__ import annotations

import pytest
from descriptions import description_of

from weft.architectures.names import GroupedQKV
from weft.architectures.spec import (
    AttentionSpec,
    BlockSpec,
    Causal,
    LayerNorm,
    MLPSpec,
    MoESpec,
    QKNorm,
    RMSNorm,
    Rope,
    YarnScaling,
    part,
)
from weft.config.engine_config import ModelConfig
from weft.errors import ConfigError, DescriptionError

NORM = RMSNorm(eps=1e-6)
MLP = MLPSpec(intermediate_size=8, act="silu", gated=True)
ATTENTION = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 8, "scale": 1.0, "positions": None, "mask": Causal()}
CONFIG = {"architectures": ["LlamaForCausalLM"], "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2,
          "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 512}
FILE = '''from weft.architectures.parts import LLAMA_NAMES, attention, decoder, gated_mlp, rms_norm, rope
from weft.architectures.registry import architecture
from weft.architectures.spec import BlockSpec, QKNorm


@architecture("LlamaForCausalLM")
def mine(c):
    norm = rms_norm(c)
    block = BlockSpec(
        mixer=attention(c, positions=rope(c)),
        ffn=gated_mlp(c), mixer_norm=norm, ffn_norm=norm)
    return decoder(c, blocks=[block] * c.positive("num_hidden_layers"), final_norm=norm, names=LLAMA_NAMES)
'''


@pytest.mark.parametrize(("make", "said"), [
    (lambda: QKNorm(norm=NORM, scope="haed"),
     "QKNorm.scope = 'haed': expected 'head', 'each_head' or 'all'. Did you mean 'head'?"),
    (lambda: QKNorm(norm=NORM, scop="head"),
     "QKNorm.scop = 'head': expected one of its fields: norm, scope, after_rotation. Did you mean scope?"),
    (lambda: QKNorm(scope="head"), "QKNorm.norm = not given: expected RMSNorm or LayerNorm."),
    (lambda: RMSNorm(1e-6),
     "RMSNorm = 1e-06: expected its fields by name: eps, offset, cast_before_weight, has_weight."),
    (lambda: RMSNorm(eps="1e-6"), "RMSNorm.eps = '1e-6': expected a number."),
    (lambda: RMSNorm(eps=True), "RMSNorm.eps = True: expected a number."),
    (lambda: LayerNorm(eps=1e-6, has_bias=1), "LayerNorm.has_bias = 1: expected True or False."),
    (lambda: AttentionSpec(**ATTENTION | {"head_dim": 8.0}),
     "AttentionSpec.head_dim = 8.0: expected a whole number."),
    (lambda: AttentionSpec(**ATTENTION | {"positions": "rope"}),
     "AttentionSpec.positions = 'rope': expected Rope"),
    (lambda: Rope(theta=1e4, rotary_dim=8, scaling="yarn"),
     "Rope.scaling = 'yarn': expected LinearScaling, DynamicScaling, "),
    (lambda: MLPSpec(intermediate_size=8, act="sulu", gated=True), "Did you mean 'silu'?"),
    (lambda: MoESpec(num_experts=4, num_experts_per_token=2, expert=MLP, scores="topk"),
     "MoESpec.scores = 'topk': expected 'softmax', 'sigmoid' or 'sparsemixer'."),
    (lambda: YarnScaling(factor=2.0, original_max_position=8, truncate="no"), "YarnScaling.truncate = 'no'"),
    (lambda: GroupedQKV(num_groups=2, queries_per_group=1), "GroupedQKV.head_dim = not given"),
])
def test_a_wrong_value_names_field_value_and_what_is_possible(make, said):
    with pytest.raises(DescriptionError) as caught:
        make()

    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["mixer_norm", "ffn_norm", "mixer_post_norm"])
def test_a_norm_that_is_none_is_told_with_the_norms_there_are(field):
    values = {"mixer": AttentionSpec(**ATTENTION), "ffn": MLP, "mixer_norm": NORM, "ffn_norm": NORM}

    with pytest.raises(DescriptionError, match=rf"BlockSpec.{field} = 1e-06: expected .*RMSNorm.*LayerNorm.* or None"):
        BlockSpec(**values | {field: 1e-6})


def test_whole_numbers_are_numbers_and_own_norms_are_norms():
    @part
    class Mine(RMSNorm):
        extra: tuple[int, ...] = ()

    assert BlockSpec(mixer=AttentionSpec(**ATTENTION | {"scale": 1}), ffn=None, ffn_norm=None,
                     mixer_norm=Mine(eps=1, extra=(1, 2))).mixer_norm == Mine(eps=1, extra=(1, 2))
    with pytest.raises(DescriptionError, match=r"Mine.extra = \(1, 'x'\): expected a tuple of a whole number"):
        Mine(eps=1, extra=(1, "x"))


def test_a_norm_made_from_another_is_refused_where_only_the_other_would_run():
    @part
    class Wider(RMSNorm):
        extra: float = 0.0

    with pytest.raises(DescriptionError, match=r"QKNorm.norm = .*Wider.*: expected RMSNorm or LayerNorm"):
        QKNorm(norm=Wider(eps=1e-6))


def described(tmp_path, line, change):
    """Describes with FILE in which one line, counted from 1, is another."""
    lines = FILE.splitlines()
    lines[line - 1] = change
    path = tmp_path / "mine.py"
    path.write_text("\n".join(lines))
    model = ModelConfig(name="m", path="/models/m", architecture="", hf_config=CONFIG, dtype="float32",
                        max_model_len=8, is_max_model_len_fixed=True, vocab_size=100, eos_token_ids=(),
                        model_file=str(path))
    return description_of(model)


@pytest.mark.parametrize(("line", "change", "said"), [
    (10, '        mixer=attention(c, positions=rope(c), qk_norm=QKNorm(norm=norm, scope="haed")),',
     "QKNorm.scope = 'haed' (in {file}, line 10): expected 'head', 'each_head' or 'all'."),
    (10, '        mixer=attention(c, positions=rope(c), softcap="5"),',
     "AttentionSpec.softcap = '5' (in {file}, line 10): expected a number or None."),
    (8, "    norm = 1e-6", "BlockSpec.mixer_norm = 1e-06 (in {file}, line 9): expected "),
    (12, "    return decoder(c, blocks=[block], final_norm=norm, names=LLAMA_NAMES)",
     "decoder.blocks = '1 blocks' (in {file}, line 12): expected num_hidden_layers = 2 blocks"),
    (12, "    return block", "mine() = BlockSpec("),
    (12, "    return blok", "mine() = NameError(\"name 'blok' is not defined\") (in {file}, line 12)"),
    (8, "    norm = rms_norm(c, epsilon=1e-6)", "(in {file}, line 8)"),
    (5, "shared = QKNorm(norm=None)", "QKNorm.norm = None (in {file}, line 5): expected RMSNorm or LayerNorm."),
])
def test_a_mistake_in_a_model_file_names_file_and_line(tmp_path, line, change, said):
    with pytest.raises(DescriptionError) as caught:
        described(tmp_path, line, change)

    assert said.format(file=tmp_path / "mine.py") in str(caught.value) and "\n" not in str(caught.value)


def test_a_key_of_the_config_is_told_as_ever(tmp_path):
    with pytest.raises(ConfigError, match=r"^no_such_key = None \(in config.json\)"):
        described(tmp_path, 8, '    norm = rms_norm(c, eps=c.float("no_such_key"))')


def test_the_file_as_it_is_describes_the_model(tmp_path):
    spec, _ = described(tmp_path, 5, "")

    assert len(spec.blocks) == 2
