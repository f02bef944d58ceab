"""A GGUF file as a checkpoint: numbers, integer codes on request, and what loading makes of them."""

import gguf
import numpy as np
import pytest
import torch
from checkpoints import as_homes
from gguf_blocks import random_rows

from weft.architectures.names import PairedRows, Plain, Rule, Shifted, SingleRow, Stacked, names
from weft.architectures.spec import DecoderSpec, EmbeddingSpec, HeadSpec
from weft.checkpoint import loader
from weft.checkpoint.loader import load_weights
from weft.checkpoint.reader import Checkpoint, open_checkpoint, same_content
from weft.checkpoint.routing import quantized_parts, take_apart
from weft.errors import CheckpointError, NotBuiltError
from weft.models.described import names_in

KINDS = gguf.GGMLQuantizationType
MATRIX = torch.arange(8 * 64, dtype=torch.float32).view(8, 64)


def write(path, **tensors):
    """{name: torch tensor of numbers, or (kind, shape) of random blocks}."""
    writer = gguf.GGUFWriter(path, "llama")
    for name, tensor in tensors.items():
        if isinstance(tensor, tuple):
            kind, shape = tensor
            raw = random_rows(kind, shape).numpy().reshape(*shape[:-1], -1)
            writer.add_tensor(name, raw, raw_dtype=KINDS[kind])
        elif tensor.dtype is torch.bfloat16:
            writer.add_tensor(name, tensor.view(torch.uint8).numpy(), raw_dtype=KINDS.BF16)
        else:
            writer.add_tensor(name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def numbers(kind, shape):
    return torch.from_numpy(gguf.quants.dequantize(random_rows(kind, shape).numpy(), KINDS[kind])).view(shape)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int32])
def test_numbers_are_read_as_they_are_stored(tmp_path, dtype):
    checkpoint = open_checkpoint(write(tmp_path / "m.gguf", matrix=MATRIX.to(dtype)))

    assert checkpoint.is_gguf
    assert checkpoint.tensors["matrix"].dtype is dtype
    assert checkpoint.tensors["matrix"].dtype_name == str(dtype).removeprefix("torch.")
    [(name, tensor)] = [(name, tensor.clone()) for name, tensor in checkpoint.read()]
    assert name == "matrix" and torch.equal(tensor, MATRIX.to(dtype))


def test_quantized_tensors_are_read_as_numbers_of_the_dtype_asked_for(tmp_path):
    path = write(tmp_path / "m.gguf", experts=("Q4_0", (3, 4, 64)), matrix=MATRIX)

    checkpoint = open_checkpoint(path, dtype=torch.bfloat16)

    info = checkpoint.tensors["experts"]
    assert (info.quantization, info.shape, info.dtype, info.dtype_name) == ("Q4_0", (3, 4, 64), torch.bfloat16, "Q4_0")
    assert (info.num_bytes, info.stored_bytes) == (3 * 4 * 64 * 2, 3 * 4 * 2 * 18)
    assert torch.equal(dict(checkpoint.read(["experts"]))["experts"], numbers("Q4_0", (3, 4, 64)).bfloat16())
    assert checkpoint.tensors["matrix"].quantization is None


def test_quantized_tensors_are_integer_codes_on_request_where_the_format_has_them(tmp_path):
    checkpoint = open_checkpoint(write(tmp_path / "m.gguf", a=("Q6_K", (3, 4, 256)), b=("IQ4_NL", (4, 64)), c=MATRIX))

    found = checkpoint.quantized("a")

    assert (found.shape, found.bits, found.group_size) == ((12, 256), 6, 16)
    assert torch.equal(found.dequantize().view(3, 4, 256), numbers("Q6_K", (3, 4, 256)))
    assert checkpoint.quantized("b") is None and checkpoint.quantized("c") is None


@pytest.mark.parametrize("layout, shape, num_rows", [
    (Plain(), (12, 64), [12]), (Plain(), (12, 64), [4, 2, 6]), (PairedRows(num_heads=3), (12, 64), [12]),
    (Stacked(), (3, 4, 64), [4, 4, 4]),
], ids=["plain", "rows", "pairs", "stacked"])
def test_integer_codes_are_taken_apart_as_their_numbers_are(tmp_path, layout, shape, num_rows):
    checkpoint = open_checkpoint(write(tmp_path / "m.gguf", w=("Q5_1", shape)))

    parts = quantized_parts(layout, checkpoint.quantized("w"), shape, num_rows)

    for part, expected in zip(parts, take_apart(layout, numbers("Q5_1", shape), num_rows), strict=True):
        assert torch.equal(part.dequantize(), expected)


@pytest.mark.parametrize("layout", [Plain(transposed=True), Shifted(by=1.0)])
def test_layouts_that_change_more_than_the_order_of_rows_have_no_integer_codes(tmp_path, layout):
    checkpoint = open_checkpoint(write(tmp_path / "m.gguf", w=("Q8_0", (4, 32))))

    with pytest.raises(ValueError, match="changes more than the order of rows"):
        quantized_parts(layout, checkpoint.quantized("w"), (4, 32), [4])


def test_rows_in_pairs_become_halves_of_each_head():
    stored = torch.tensor([[0], [2], [1], [3], [10], [12], [11], [13]])      # two heads of four

    [found] = take_apart(PairedRows(num_heads=2), stored, [8])

    assert found.flatten().tolist() == [0, 1, 2, 3, 10, 11, 12, 13]


def test_shifted_and_single_rows():
    assert take_apart(Shifted(by=1.0), torch.tensor([1.0, 2.5]), [2])[0].tolist() == [0.0, 1.5]
    assert take_apart(SingleRow(), torch.ones(3), [1])[0].shape == (1, 3)
    assert take_apart(SingleRow(), torch.ones(1, 3), [1])[0].shape == (1, 3)


@pytest.mark.parametrize("layout, shape, num_rows, said", [
    (PairedRows(num_heads=3), (8, 4), [8], "rows must be pairs for each of 3 heads"),
    (Stacked(), (3, 2, 4), [2, 2], "3 entries, the model has 2"),
    (Stacked(), (), [2, 2], "scalar entries"),
])
def test_a_shape_that_does_not_fit_its_layout_is_an_error(layout, shape, num_rows, said):
    with pytest.raises(ValueError, match=said):
        take_apart(layout, torch.empty(shape), num_rows)


def test_content_is_compared_as_it_is_stored(tmp_path, monkeypatch):
    path = write(tmp_path / "m.gguf", a=("Q4_0", (4, 64)), b=("Q4_0", (4, 64)), c=("Q4_1", (4, 64)), d=MATRIX,
                 e=MATRIX.clone())
    checkpoint = open_checkpoint(path)
    monkeypatch.setattr("weft.checkpoint.gguf_file.dequantize", lambda *a: pytest.fail("made numbers"))

    assert same_content(checkpoint, "a", "b") and same_content(checkpoint, "d", "e")
    assert not same_content(checkpoint, "a", "c")


def test_loading_quantized_tensors_says_once_what_it_costs(tmp_path, caplog):
    path = write(tmp_path / "m.gguf", a=("Q4_K", (1024, 1024)), b=("Q8_0", (4, 64)), c=MATRIX)
    homes = {"a": torch.zeros(1024, 1024), "b": torch.zeros(4, 64), "c": torch.zeros(8, 64)}

    report = load_weights(as_homes(homes), open_checkpoint(path), names({name: name for name in "abc"}),
                          use_tqdm=False)

    [message] = [record.getMessage() for record in caplog.records]
    assert message == ("m.gguf: 2 of 3 tensors are quantized (Q4_K, Q8_0) and become float32 as they are loaded, "
                       "because no kernel computes with them as they are: 4.00 MiB of memory instead of 576.27 KiB.")
    assert report.num_tensors == 3
    assert torch.equal(homes["b"], numbers("Q8_0", (4, 64)))
    assert torch.equal(homes["c"], MATRIX)


def test_only_pages_of_the_file_are_let_go_never_a_copy_of_them(tmp_path, monkeypatch):
    matrix = torch.randn(64, 64)
    path = write(tmp_path / "m.gguf", plain=matrix, pairs=matrix)
    monkeypatch.setattr(loader, "PIECE_BYTES", 1024)
    checkpoint, released = open_checkpoint(path), []
    release = Checkpoint.release

    def record(self, name, tensor):
        released.append((name, tensor.shape[0]))
        release(self, name, tensor)

    monkeypatch.setattr(Checkpoint, "release", record)
    homes = {"plain": torch.zeros(64, 64), "pairs": torch.zeros(64, 64)}
    load_weights(as_homes(homes), checkpoint, names({"plain": "plain", "pairs": Rule("pairs", ("pairs",), PairedRows(
        num_heads=4))}), use_tqdm=False)

    assert torch.equal(homes["plain"], matrix)
    assert torch.equal(homes["pairs"], take_apart(PairedRows(num_heads=4), matrix, [64])[0])
    assert ("plain", 4) in released         # a piece
    assert [rows for name, rows in released if name == "pairs"] == [64]     # the file's tensor, once it is done


def test_a_family_without_gguf_names_is_an_error_that_says_so(tmp_path):
    checkpoint = open_checkpoint(write(tmp_path / "m.gguf", a=MATRIX))
    spec = DecoderSpec(hidden_size=1, vocab_size=1, max_position=None, embedding=EmbeddingSpec(vocab_size=1),
                       blocks=(), final_norm=None, head=HeadSpec(), names=names({}))

    with pytest.raises(NotBuiltError, match="weft does not know how GGUF files name this family's tensors"):
        names_in(checkpoint, spec)
    assert names_in(open_checkpoint(tmp_path, "dummy"), spec) is spec.names


def test_a_file_that_was_cut_after_it_was_opened_is_an_error(tmp_path):
    path = write(tmp_path / "m.gguf", a=MATRIX)
    checkpoint = open_checkpoint(path)
    path.write_bytes(path.read_bytes()[:-64])

    with pytest.raises(CheckpointError, match="became shorter while it was read"):
        list(checkpoint.read())


def test_tensors_at_odd_places_are_copied_out(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_custom_alignment(1)
    writer.add_tensor("odd", np.ones(3, dtype=np.int8))
    writer.add_tensor("a", MATRIX.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    checkpoint = open_checkpoint(tmp_path / "m.gguf")

    assert not checkpoint._shards[tmp_path / "m.gguf"].is_mapped("a")
    assert torch.equal(dict(checkpoint.read())["a"], MATRIX)
