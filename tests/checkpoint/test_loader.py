"""Tensors reach their homes, each once, or nothing is copied and one error lists all that does not fit."""

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from checkpoints import LAYERS, NAMES, as_homes, homes, save, save_sharded, tensors

from weft.architectures.names import GroupedQKV, Plain, Rule, names
from weft.architectures.spec import HeadSpec
from weft.checkpoint.loader import has_own_head, load_weights
from weft.checkpoint.reader import open_checkpoint
from weft.config.human_bytes import human_bytes
from weft.errors import CheckpointError
from weft.models.described import needs_own_head


def load(directory, targets, *, tied=False, name_map=NAMES, load_format="auto"):
    found = as_homes(targets, **({"head__weight": "embedding.tokens.weight"} if tied else {}))
    return load_weights(found, open_checkpoint(directory, load_format), name_map, use_tqdm=False)


def refused(directory, targets, **options):
    """The report of a load that was refused; no home was touched."""
    with pytest.raises(CheckpointError) as caught:
        load(directory, targets, **options)
    assert all(home.isnan().all() for home in targets.values())
    return str(caught.value)


def assert_loaded(targets, state):
    assert torch.equal(targets["embedding.tokens.weight"], state["model.embed_tokens.weight"])
    assert torch.equal(targets["final_norm.weight"], state["model.norm.weight"])
    for i in range(LAYERS):
        fused = torch.cat([targets[f"blocks.{i}.mixer.{part}.weight"] for part in "qkv"])
        assert torch.equal(fused, state[f"model.layers.{i}.attn.qkv.weight"])
        assert torch.equal(targets[f"blocks.{i}.ffn.up.weight"], state[f"model.layers.{i}.mlp.w1.weight"])


def test_every_home_is_filled(tmp_path):
    targets = homes()

    report = load(save(tmp_path, tensors()), targets)

    assert_loaded(targets, tensors())
    assert torch.equal(targets["head.weight"], tensors()["lm_head.weight"])
    assert (report.num_tensors, report.num_bytes) == (3 + 2 * LAYERS, sum(t.nbytes for t in tensors().values()))
    assert report.files == (tmp_path / "model.safetensors",)
    assert f"9 tensors, {human_bytes(report.num_bytes)}, from model.safetensors" in str(report)


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards_fill_the_same_homes(tmp_path, suffix):
    save_sharded(tmp_path, tensors(), suffix=suffix)
    targets = homes()

    report = load(tmp_path, targets)

    assert_loaded(targets, tensors())
    assert len(report.files) == 3


def test_layers_that_predict_further_tokens_are_left_out_with_a_notice(tmp_path, caplog):
    further = {f"model.layers.{LAYERS}.{name}.weight": torch.ones(2, 2) for name in ("eh_proj", "mlp.w1")}
    targets = homes()

    with caplog.at_level("INFO", logger="weft"):
        load(save(tmp_path, tensors() | further), targets,
             name_map=replace(NAMES, ignored_prefixes=(f"model.layers.{LAYERS}.",)))

    assert_loaded(targets, tensors())
    assert f"2 tensors under model.layers.{LAYERS}. are not loaded" in caplog.text


def test_a_base_models_names_lack_the_prefix(tmp_path):
    targets = homes()

    load(save(tmp_path, {name.removeprefix("model."): tensor for name, tensor in tensors().items()}), targets)

    assert_loaded(targets, tensors())


@pytest.mark.parametrize(("stored", "run"), [(torch.bfloat16, torch.float32), (torch.float32, torch.bfloat16),
                                             (torch.float16, torch.bfloat16), (torch.float64, torch.float32)])
def test_weights_are_cast_to_the_dtype_of_the_model(tmp_path, stored, run):
    targets = homes(run)

    load(save(tmp_path, tensors(stored)), targets)

    assert_loaded(targets, {name: tensor.to(run) for name, tensor in tensors(stored).items()})


def test_large_tensors_are_copied_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("weft.checkpoint.loader.PIECE_BYTES", 50)       # three rows of four float32
    targets = homes()

    load(save(tmp_path, tensors()), targets)

    assert_loaded(targets, tensors())
    assert torch.equal(targets["head.weight"], tensors()["lm_head.weight"])


def test_transposed_and_grouped_layouts_are_undone(tmp_path):
    name_map = names({
        "c_fc": Rule("c_fc", ("blocks.0.ffn.up",), Plain(transposed=True)),
        "qkv": Rule("qkv", ("blocks.0.mixer.q", "blocks.0.mixer.k", "blocks.0.mixer.v"),
                    GroupedQKV(num_groups=2, queries_per_group=1, head_dim=1)),
    })
    state = {"c_fc.weight": torch.randn(4, 6), "c_fc.bias": torch.randn(6), "qkv.weight": torch.randn(6, 4),
             "qkv.bias": torch.arange(6.0)}
    targets = {"blocks.0.ffn.up.weight": torch.zeros(6, 4), "blocks.0.ffn.up.bias": torch.zeros(6)}
    targets |= {f"blocks.0.mixer.{part}.{suffix}": torch.zeros((2, 4) if suffix == "weight" else 2)
                for part in "qkv" for suffix in ("weight", "bias")}

    load(save(tmp_path, state), targets, name_map=name_map)

    assert torch.equal(targets["blocks.0.ffn.up.weight"], state["c_fc.weight"].t())
    assert torch.equal(targets["blocks.0.ffn.up.bias"], state["c_fc.bias"])
    assert targets["blocks.0.mixer.q.bias"].tolist() == [0, 3]
    assert targets["blocks.0.mixer.v.bias"].tolist() == [2, 5]
    assert torch.equal(targets["blocks.0.mixer.k.weight"], state["qkv.weight"][[1, 4]])


def test_ignored_tensors_are_not_read_and_are_reported(tmp_path):
    state = tensors() | {"model.layers.0.rotary.inv_freq": torch.ones(2)}

    report = load(save(tmp_path, state), homes())

    assert report.ignored == ("model.layers.0.rotary.inv_freq",)


# Tied heads


def test_a_checkpoint_without_a_head_is_tied(tmp_path):
    checkpoint = open_checkpoint(save(tmp_path, tensors(head=False)))
    targets = homes(head=False)

    assert not has_own_head(checkpoint, NAMES)
    assert load(tmp_path, targets, tied=True).is_head_tied
    assert_loaded(targets, tensors(head=False))


def test_a_head_of_its_own_wins(tmp_path):
    assert has_own_head(open_checkpoint(save(tmp_path, tensors())), NAMES)


def test_a_head_that_is_a_copy_of_the_embedding_is_no_head_of_its_own(tmp_path):
    state = tensors()
    state["lm_head.weight"] = state["model.embed_tokens.weight"].clone()
    checkpoint = open_checkpoint(save(tmp_path, state))
    targets = homes(head=False)

    assert not has_own_head(checkpoint, NAMES)
    assert load(tmp_path, targets, tied=True).ignored == ("lm_head.weight",)
    assert_loaded(targets, state)


def test_a_tied_checkpoint_that_kept_only_the_head_fills_the_embedding_from_it(tmp_path):
    state = tensors(head=False)
    state["lm_head.weight"] = state.pop("model.embed_tokens.weight")
    checkpoint = open_checkpoint(save(tmp_path, state))
    targets = homes(head=False)

    assert not has_own_head(checkpoint, NAMES)
    load(tmp_path, targets, tied=True)

    assert torch.equal(targets["embedding.tokens.weight"], state["lm_head.weight"])


def test_a_config_that_states_a_head_makes_a_missing_one_an_error(tmp_path):
    checkpoint, spec = open_checkpoint(save(tmp_path, tensors(head=False))), SimpleNamespace(names=NAMES)

    assert not needs_own_head(checkpoint, spec, {})
    assert needs_own_head(checkpoint, spec, {"tie_word_embeddings": False})
    said = refused(tmp_path, homes())
    assert "head.weight  [10, 4]; expected lm_head.weight" in said
    assert 'hf_overrides={"tie_word_embeddings": true}' in said


def test_a_different_head_in_a_tied_model_is_an_error(tmp_path):
    said = refused(save(tmp_path, tensors()), homes(head=False), tied=True)

    assert "lm_head.weight in model.safetensors is no copy of model.embed_tokens.weight" in said


# Faults


def changed(**changes):
    """A checkpoint with tensors added, replaced, or (None) removed; `__` in a name stands for a dot."""
    state = tensors()
    for name, tensor in changes.items():
        if tensor is None:
            del state[name.replace("__", ".")]
        else:
            state[name.replace("__", ".")] = tensor
    return state


FAULTS = {
    "no home": (changed(model__extra__weight=torch.ones(3)),
                ["1 tensor without a home", "model.extra.weight  float32 [3] in model.safetensors"]),
    "no home for a bias": (changed(lm_head__bias=torch.ones(10)), ["lm_head.bias", "the model has no head.bias"]),
    "no tensor": (changed(model__norm__weight=None),
                  ["1 parameter without a tensor", "final_norm.weight  [4]; expected model.norm.weight"]),
    "misspelt": (changed(model__norm__weight=None, model__nrom__weight=torch.ones(4)),
                 ["1 tensor without a home, 1 parameter without a tensor", "nearest: model.norm.weight",
                  "nearest in the checkpoint: model.nrom.weight"]),
    "shape": (changed(model__norm__weight=torch.ones(5)),
              ["1 shape clash", "model.norm.weight  float32 [5] for final_norm.weight: the model has [4] in mod"]),
    "padded vocabulary": (changed(model__embed_tokens__weight=torch.ones(16, 4)),
                          ["model.embed_tokens.weight  float32 [16, 4] for embedding.tokens.weight: the model has ["]),
    "fused rows": (changed(**{"model__layers__1__attn__qkv__weight": torch.ones(9, 4)}),
                   ["model.layers.1.attn.qkv.weight", "9 rows, the model has 4 + 2 + 2"]),
    "fused columns": (changed(**{"model__layers__1__attn__qkv__weight": torch.ones(8, 5)}), ["the model has [4, 4]"]),
    "scalar": (changed(model__norm__weight=torch.tensor(1.0)), ["float32 [] for final_norm.weight"]),
    "quantized": (changed(model__norm__weight=torch.ones(4, dtype=torch.int8)),
                  ["1 dtype clash", "model.norm.weight  int8 [4] for final_norm.weight: the model computes in float32; "
                   "the checkpoint looks quantized"]),
    "float8": (changed(model__norm__weight=torch.ones(4).to(torch.float8_e4m3fn)), ["1 dtype clash", "float8_e4m3fn"]),
    "twice": (changed(norm__weight=torch.ones(4)),
              ["1 parameter with two tensors", "final_norm.weight: model.norm.weight in model.safetensors and norm."]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_reported_by_name_and_file_and_nothing_is_copied(tmp_path, fault):
    state, said = FAULTS[fault]
    report = refused(save(tmp_path, state), homes())

    assert report.startswith(f"{tmp_path}: the weights do not fit the model: ")
    for part in said:
        assert part in report


def test_one_run_lists_all_faults_with_totals(tmp_path):
    state = changed(model__norm__weight=torch.ones(4, dtype=torch.int8), model__embed_tokens__weight=torch.ones(9, 4),
                    lm_head__weight=None, model__a__weight=torch.ones(1), model__b__weight=torch.ones(2))

    report = refused(save(tmp_path, state), homes())

    assert "2 tensors without a home, 1 parameter without a tensor, 1 shape clash, 1 dtype clash." in report


def test_faults_of_many_layers_are_one_line(tmp_path):
    state = {name.replace("mlp.w1", "mlp.fc"): tensor for name, tensor in tensors().items()}

    lines = refused(save(tmp_path, state), homes()).splitlines()

    assert "  model.layers.{0..2}.mlp.fc.weight  float32 [6, 4] in model.safetensors; nearest: " \
           "model.layers.{i}.mlp.w1.weight" in lines
    assert "  blocks.{0..2}.ffn.up.weight  [6, 4]; expected model.layers.{0..2}.mlp.w1.weight; nearest in the " \
           "checkpoint: model.layers.{i}.mlp.fc.weight" in lines


def test_the_files_of_a_sharded_checkpoint_are_named(tmp_path):
    state = {name.replace("mlp.w1", "mlp.fc"): tensor for name, tensor in tensors().items()}
    save_sharded(tmp_path, state)

    report = refused(tmp_path, homes())

    assert "in model-00001-of-00003.safetensors" in report


def test_a_checkpoint_of_another_model_is_reported_in_few_lines(tmp_path):
    state = {f"encoder.block_{i}.thing_{j}": torch.ones(2) for i in range(40) for j in range(60)}

    report = refused(save(tmp_path, state), homes())

    assert "2400 tensors without a home" in report
    assert len(report.splitlines()) < 30


# Dummy weights


def test_dummy_weights_are_small_equal_each_time_and_different_from_each_other(tmp_path):
    first, second = homes(torch.bfloat16), homes(torch.bfloat16)

    load(tmp_path, first, load_format="dummy")
    load(tmp_path, second, load_format="dummy")

    for name in first:
        assert torch.equal(first[name], second[name])
        assert 0 < first[name].abs().max() <= 1.001e-3
    assert not torch.equal(first["blocks.0.ffn.up.weight"], first["blocks.1.ffn.up.weight"])


@pytest.mark.parametrize("tied", [True, False])
def test_without_weights_the_spec_says_whether_there_is_a_head(tmp_path, tied):
    spec = SimpleNamespace(names=NAMES, head=HeadSpec(tied=tied))

    assert needs_own_head(open_checkpoint(tmp_path, "dummy"), spec, {}) is not tied


# Memory

MEASURE = """
import sys, torch
from pathlib import Path
from weft.architectures.names import names
from weft.checkpoint.loader import has_own_head, load_weights
from weft.checkpoint.reader import open_checkpoint
from weft.layers.layer import Home, Layer
torch.set_num_threads(1)
def kilobytes(key):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key))
name_map = names({"emb": "embedding.tokens", "lm_head": "head", "w.{i}": "blocks.{i}.ffn.up"})
homes = {f"blocks.{i}.ffn.up.weight": torch.empty(1024, 4096, dtype=torch.bfloat16) for i in range(12)}
homes["embedding.tokens.weight"] = torch.empty(16384, 4096, dtype=torch.bfloat16)
Path("/proc/self/clear_refs").write_text("5")
before = kilobytes("VmRSS")
checkpoint = open_checkpoint(Path(sys.argv[1]), "auto")
assert not has_own_head(checkpoint, name_map)
layer = Layer()
given = {name: Home(view, layer, name) for name, view in homes.items()}
given["head.weight"] = given["embedding.tokens.weight"]
load_weights(given, checkpoint, name_map, use_tqdm=False)
weights = sum(home.nbytes for home in homes.values()) / 1024
print((kilobytes("VmHWM") - before) / weights)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="page accounting is read from /proc")
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_two_copies_of_the_weights_are_never_resident(tmp_path, name):
    state = {"emb.weight": torch.ones(16384, 4096, dtype=torch.bfloat16)}
    state["lm_head.weight"] = state["emb.weight"].clone()                  # compared with the embedding, 128 MiB each
    state |= {f"w.{i}.weight": torch.ones(1024, 4096, dtype=torch.bfloat16) for i in range(12)}
    save(tmp_path, state, name)

    done = subprocess.run([sys.executable, "-c", MEASURE, str(tmp_path)], capture_output=True, text=True, check=True)

    assert 0.9 < float(done.stdout) < 1.15
