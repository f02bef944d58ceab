"""Of a checkpoint's whole tensors each home takes its part; two names of one home are loaded once."""

import gguf
import pytest
import torch
from checkpoints import NAMES, as_homes, homes, save, tensors
from code_sink import CodeSink
from gguf_blocks import KINDS, random_rows

from weft.architectures.names import GroupedQKV, HeadRows, Plain, Rule, names
from weft.checkpoint.loader import load_weights
from weft.checkpoint.reader import Checkpoint, open_checkpoint
from weft.errors import CheckpointError
from weft.layers.layer import Home, Layer
from weft.layers.shard import Span
from weft.ops.quantized.gguf import dequantize, is_affine


def load(directory, found, name_map=NAMES):
    return load_weights(found, open_checkpoint(directory), name_map, use_tqdm=False)


# Parts


def test_parts_of_fused_and_reordered_rows_are_cut_after_they_were_taken_apart(tmp_path):
    layouts = {"qkv": (GroupedQKV(num_groups=2, queries_per_group=2, head_dim=1), "qkv", (4, 2, 2)),
               "kv": (HeadRows(num_heads=2, sizes=(2, 1)), "ab", (4, 2)),
               "turned": (Plain(transposed=True), "t", (4,))}
    name_map = names({stem: Rule(stem, tuple(parts), layout) for stem, (layout, parts, _) in layouts.items()})
    state = {"qkv.weight": torch.randn(8, 3), "kv.weight": torch.randn(6, 3), "turned.weight": torch.randn(3, 4)}
    save(tmp_path, state)
    sizes = {part: size for _, parts, rows in layouts.values() for part, size in zip(parts, rows, strict=True)}
    whole = {f"{part}.weight": torch.zeros(size, 3) for part, size in sizes.items()}
    load(tmp_path, as_homes(whole), name_map)

    for index in range(2):
        layer, found = Layer(), {}
        for name, tensor in whole.items():
            span = Span(index * len(tensor) // 2, (index + 1) * len(tensor) // 2, len(tensor))
            found[name] = Home(torch.zeros(len(span), 3), layer, name, rows=span)
        views = {name: home.view for name, home in found.items()}
        load(tmp_path, found, name_map)

        for name, tensor in whole.items():
            assert torch.equal(views[name], tensor.chunk(2)[index]), name


def test_columns_are_copied_in_pieces_too(tmp_path, monkeypatch):
    monkeypatch.setattr("weft.checkpoint.loader.PIECE_BYTES", 64)
    released, release = [], Checkpoint.release
    monkeypatch.setattr(Checkpoint, "release", lambda self, name, tensor: (released.append(tuple(tensor.shape)),
                                                                           release(self, name, tensor)))
    matrix, view = torch.randn(64, 8), torch.zeros(64, 4)
    save(tmp_path, {"a.weight": matrix})

    load(tmp_path, {"a.weight": Home(view, Layer(), "a.weight", columns=Span(4, 8, 8))}, names({"a": "a"}))

    assert torch.equal(view, matrix[:, 4:])
    assert released.count((4, 4)) == 16


def test_rows_that_are_stored_apart_reach_the_shard_that_has_them(tmp_path):
    state = {f"norms.{row}.weight": torch.full((3,), float(row)) for row in range(4)}
    save(tmp_path, state)
    name_map = names({"norms.{row}": "norm.{row}"}, by_row=("norm",))
    view = torch.zeros(2, 3)

    load(tmp_path, {"norm.weight": Home(view, Layer(), "norm.weight", rows=Span(2, 4, 4))}, name_map)

    assert view.tolist() == [[2.0] * 3, [3.0] * 3]


def test_a_tensor_of_the_shards_size_is_no_whole_one(tmp_path):
    save(tmp_path, {"a.weight": torch.ones(2, 4)})
    found = {"a.weight": Home(torch.zeros(2, 4), Layer(), "a.weight", rows=Span(0, 2, 4))}

    with pytest.raises(CheckpointError, match=r"float32 \[2, 4\] for a\.weight: the model has \[4, 4\]"):
        load(tmp_path, found, names({"a": "a"}))


def test_a_missing_tensor_is_reported_in_its_whole_shape(tmp_path):
    save(tmp_path, {"b.weight": torch.ones(1)})
    found = {"a.weight": Home(torch.zeros(2, 4), Layer(), "a.weight", rows=Span(0, 2, 4))}

    with pytest.raises(CheckpointError, match=r"a\.weight  \[4, 4\]; expected a\.weight"):
        load(tmp_path, found, names({"a": "a", "b": "b"}))


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_blocks_of_gguf_are_cut_as_their_numbers_are(tmp_path, kind, count):
    """Two super blocks of 256 columns: half of them is a border, a third is none, nor one of 32 columns."""
    shape, raw = (6, 512), random_rows(kind, (6, 512))
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    for name in ("rows.weight", "columns.weight"):
        writer.add_tensor(name, raw.numpy(), raw_dtype=gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    whole = dequantize(kind, raw, shape)
    name_map = names({"rows": "rows", "columns": "columns"})

    for index in range(count):
        rows, columns = (Span(index * n // count, (index + 1) * n // count, n) for n in shape)
        for sink in (None, CodeSink()):
            found = {"rows.weight": Home(torch.zeros(len(rows), 512), Layer(), "rows.weight", rows=rows),
                     "columns.weight": Home(torch.zeros(6, len(columns)), Layer(), "columns.weight", columns=columns)}
            views = {name: home.view for name, home in found.items()}
            load_weights(found, open_checkpoint(tmp_path / "m.gguf"), name_map, use_tqdm=False, sink=sink)
            codes = {} if sink is None else sink.codes
            assert len(codes) == (2 if sink is not None and is_affine(kind) else 0)
            values = views | {name: weight.dequantize() for name, weight in codes.items()}

            assert torch.equal(values["rows.weight"], whole[rows.entries])
            assert torch.equal(values["columns.weight"], whole[:, columns.entries])


# Two names


def shared(views):
    return as_homes(views, blocks__1__ffn__up__weight="blocks.0.ffn.up.weight",
                    blocks__2__ffn__up__weight="blocks.0.ffn.up.weight")


def state_of(*layers):
    """The checkpoint with equal matrices w1 of these layers, and none of the others."""
    state = {name: tensor for name, tensor in tensors().items() if "w1" not in name}
    return state | {f"model.layers.{i}.mlp.w1.weight": torch.arange(24.0).view(6, 4) for i in layers}


@pytest.mark.parametrize("layers", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)])
def test_one_matrix_of_several_layers_comes_from_any_of_its_names(tmp_path, layers):
    views = homes()
    report = load(save(tmp_path, state_of(*layers)), shared(views))

    assert torch.equal(views["blocks.0.ffn.up.weight"], torch.arange(24.0).view(6, 4))
    assert len(report.ignored) == len(layers) - 1


def test_different_contents_under_two_names_are_refused_with_both_names(tmp_path):
    state = state_of(0, 1, 2)
    state["model.layers.2.mlp.w1.weight"][5, 3] += 1

    with pytest.raises(CheckpointError) as caught:
        load(save(tmp_path, state), shared(homes()))

    assert "1 tensor unlike another one of the same parameter." in str(caught.value)
    assert ("model.layers.2.mlp.w1.weight in model.safetensors is no copy of model.layers.0.mlp.w1.weight in "
            "model.safetensors; the model has one parameter for both") in str(caught.value)


def test_another_shape_under_the_second_name_is_no_copy(tmp_path):
    state = state_of(0, 2)
    state["model.layers.2.mlp.w1.weight"] = torch.zeros(4, 4)

    with pytest.raises(CheckpointError, match=r"layers\.2\.mlp\.w1\.weight in model.safetensors is no copy of model"):
        load(save(tmp_path, state), shared(homes()))


def test_no_tensor_for_any_name_is_reported_once(tmp_path):
    with pytest.raises(CheckpointError, match=r"1 parameter without a tensor\.[^{]*blocks\.0\.ffn\.up\.weight"):
        load(save(tmp_path, state_of()), shared(homes()))
