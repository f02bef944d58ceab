"""`weft verify`: exit status 0 and words for a model that is equal, 1 and the part for one that is not."""

import json

from planted import spec_file
from tiny_llama import make_checkpoint


def test_equal(weft, checkpoint):
    ran = weft("verify", checkpoint, "--num-threads", 1)

    assert ran.status == 0
    assert ran.out.splitlines()[-1] == "equal"
    assert "LlamaForCausalLM against LlamaForCausalLM, 47 tokens in float32" in ran.out


def test_a_fault_is_named(weft, checkpoint, tmp_path):
    file = spec_file(tmp_path / "mine.py", "LlamaForCausalLM",
                     "each(spec, lambda b: replace(b, mixer=replace(b.mixer, scale=1.0)))")

    ran = weft("verify", checkpoint, "--model-file", file, "--num-threads", 1)

    assert ran.status == 1
    assert "first part that differs: blocks.0.mixer.scale" in ran.out
    assert "scale of the scores: 1 here, 0.353553 in Transformers" in ran.out
    assert ran.out.splitlines()[-1] == "differs: forward pass"


def test_json(weft, checkpoint):
    ran = weft("verify", "--model", checkpoint, "--json", "--token-ids", 5, 6, 7, "--num-new", 3)

    found = json.loads(ran.out)
    assert ran.status == 0
    assert found["is_equal"]
    assert found["num_tokens"] == 5


def test_text_and_tolerances(weft, checkpoint):
    ran = weft("verify", checkpoint, "--prompt", "Hello there", "--tolerance", 1e-12)

    assert ran.status == 1
    assert weft("verify", checkpoint, "--prompt", "Hello there", "--total-tolerance", 0.5).status == 0


def test_a_reference_that_cannot_be_made_is_one_line(weft, tmp_path):
    make_checkpoint(tmp_path, architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=259)
    (tmp_path / "config.json").write_text((tmp_path / "config.json").read_text().replace('"llama"', '"lama"'))

    ran = weft("verify", tmp_path)

    assert ran.status == 1
    assert len(ran.err.strip().splitlines()) == 1
    assert "expected a checkpoint that Transformers can run" in ran.err
