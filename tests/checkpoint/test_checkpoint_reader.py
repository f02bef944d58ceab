"""Which files of a directory are read, what their tensors are, and what is said of broken ones."""

import json

import pytest
import torch
from checkpoints import save, save_sharded, tensors

from weft.checkpoint.reader import open_checkpoint, same_content
from weft.errors import CheckpointError


def read(directory, load_format="auto"):
    return {name: tensor.clone() for name, tensor in open_checkpoint(directory, load_format).read()}


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "weights.safetensors"])
def test_one_file_is_read_whole(tmp_path, name):
    assert_equal(read(save(tmp_path, tensors(torch.bfloat16), name)), tensors(torch.bfloat16))


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards_are_read_by_their_index(tmp_path, suffix):
    save_sharded(tmp_path, tensors(), suffix=suffix)

    assert_equal(read(tmp_path), tensors())


def test_only_the_files_that_the_index_names_are_read(tmp_path):
    save_sharded(tmp_path, tensors())
    (tmp_path / "model-00009-of-00009.safetensors").write_bytes(b"broken")
    (tmp_path / "consolidated.safetensors").write_bytes(b"broken")
    save(tmp_path, {"other": torch.zeros(1)}, "model.safetensors")

    checkpoint = open_checkpoint(tmp_path)

    assert [file.name for file in checkpoint.files] == [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    assert_equal(read(tmp_path), tensors())


def test_without_an_index_every_model_file_is_read(tmp_path):
    save(tmp_path, {"a": torch.ones(2)}, "model-1.safetensors")
    save(tmp_path, {"b": torch.zeros(2)}, "model-2.safetensors")
    save(tmp_path, {"c": torch.zeros(2)}, "adapter_model.safetensors")

    assert read(tmp_path).keys() == {"a", "b"}


def test_safetensors_are_preferred_and_the_format_can_be_chosen(tmp_path):
    save(tmp_path, {"a": torch.ones(2)})
    save(tmp_path, {"b": torch.ones(2)}, "pytorch_model.bin")

    assert read(tmp_path).keys() == {"a"}
    assert read(tmp_path, "safetensors").keys() == {"a"}
    assert read(tmp_path, "pt").keys() == {"b"}


def test_a_dummy_checkpoint_touches_no_file(tmp_path):
    checkpoint = open_checkpoint(tmp_path / "nowhere", "dummy")

    assert (checkpoint.is_dummy, checkpoint.tensors, checkpoint.files) == (True, {}, ())


def test_what_is_known_before_reading_is_shape_dtype_and_file(tmp_path):
    save(tmp_path, {"a": torch.zeros(3, 5, dtype=torch.float16), "b": torch.zeros(2, dtype=torch.int64)})

    found = open_checkpoint(tmp_path).tensors

    assert (found["a"].shape, found["a"].dtype, found["a"].num_bytes) == ((3, 5), torch.float16, 30)
    assert found["b"].file == tmp_path / "model.safetensors"


def test_tensors_come_in_the_order_of_their_data_and_only_those_asked_for(tmp_path):
    save(tmp_path, tensors())
    checkpoint = open_checkpoint(tmp_path)

    assert [name for name, _ in checkpoint.read()] == list(checkpoint.tensors)
    assert [name for name, _ in checkpoint.read(["model.norm.weight"])] == ["model.norm.weight"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int8,
                                   torch.uint8, torch.bool, torch.float8_e4m3fn, torch.float8_e5m2])
def test_every_dtype_of_the_format_is_read(tmp_path, dtype):
    save(tmp_path, {"t": torch.arange(6).reshape(2, 3).to(dtype)})

    (_, found), = open_checkpoint(tmp_path).read()

    assert found.dtype == dtype
    assert torch.equal(found.float(), torch.arange(6).reshape(2, 3).to(dtype).float())


def test_scalars_and_empty_tensors_are_read(tmp_path):
    save(tmp_path, {"scalar": torch.tensor(2.5), "none": torch.zeros(0, 3)})

    assert_equal(read(tmp_path), {"scalar": torch.tensor(2.5), "none": torch.zeros(0, 3)})


def test_data_that_is_not_aligned_is_read(tmp_path):
    header = json.dumps({"odd": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
                         "t": {"dtype": "F32", "shape": [2], "data_offsets": [1, 9]}}).encode()
    data = bytes([7]) + torch.tensor([1.5, -2.5]).numpy().tobytes()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data)

    found = read(tmp_path)

    assert found["t"].tolist() == [1.5, -2.5]
    assert found["odd"].tolist() == [7]


def test_a_torch_file_from_before_2020_is_read(tmp_path):
    torch.save(tensors(), tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)

    assert_equal(read(tmp_path), tensors())


def test_a_tensor_can_be_read_again_after_its_pages_were_dropped(tmp_path):
    save(tmp_path, {"t": torch.arange(100_000.0)})
    checkpoint = open_checkpoint(tmp_path)

    for name, tensor in checkpoint.read():
        checkpoint.release(name, tensor)
        assert torch.equal(tensor, torch.arange(100_000.0))


def test_equal_tensors_are_told_from_others(tmp_path):
    table = torch.randn(50, 4)
    other = table.clone()
    other[49, 3] += 1
    save_sharded(tmp_path, {"a": table, "b": table.clone(), "c": other, "d": table.half(), "e": table[:40].clone()})
    checkpoint = open_checkpoint(tmp_path)

    assert same_content(checkpoint, "a", "b")
    assert [same_content(checkpoint, "a", name) for name in "cde"] == [False, False, False]


def write_index(directory, names):
    weight_map = dict.fromkeys(names, "model.safetensors")
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def broken_pickle(path):
    path.write_bytes(b"\x80\x02cos\nsystem\n(S'true'\ntR.")


FAULTS = {
    "nothing there": (lambda d: None, "no weights: looked for *.safetensors or pytorch_model*.bin. It is empty."),
    "gguf": (lambda d: (d / "m.gguf").write_text(""), "There are .gguf files: pass the path of the one to run"),
    "other files": (lambda d: (d / "model.h5").write_text(""), "The directory holds model.h5."),
    "zero bytes": (lambda d: (d / "model.safetensors").write_bytes(b""), "model.safetensors: 0 bytes"),
    "a directory": (lambda d: (d / "model.safetensors").mkdir(), "model.safetensors: not a file"),
    "dangling link": (lambda d: (d / "model-1.safetensors").symlink_to(d / "blob"),
                      "model-1.safetensors: the file is missing"),
    "truncated": (lambda d: (d / "model.safetensors").write_bytes(
        (save(d, tensors()) / "model.safetensors").read_bytes()[:-10]), "ends after the file"),
    "index no JSON": (lambda d: (d / "model.safetensors.index.json").write_text("{"), "expected valid JSON"),
    "index no map": (lambda d: (d / "model.safetensors.index.json").write_text("{}"), "weight_map = None"),
    "index elsewhere": (lambda d: (d / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../x"}}'),
                        "weight_map['a'] = '../x'"),
    "index number": (lambda d: (d / "model.safetensors.index.json").write_text('{"weight_map": {"a": 3}}'),
                     "weight_map['a'] = '3'"),
    "missing shard": (lambda d: (save_sharded(d, tensors()), (d / "model-00002-of-00003.safetensors").unlink()),
                      "1 of 3 files are missing: model-00002-of-00003.safetensors"),
    "index too long": (lambda d: write_index(save(d, tensors()), ["gone", *tensors()]), "'gone' in model.safetensors"),
    "in two files": (lambda d: [save(d, {"a": torch.ones(1)}, f"model-{n}.safetensors") for n in (1, 2)],
                     "'a' is in two files"),
    "bin empty": (lambda d: (d / "pytorch_model.bin").write_bytes(b""), "the file is empty"),
    "bin noise": (lambda d: (d / "pytorch_model.bin").write_bytes(b"\x00noise" * 100), "pytorch_model.bin: "),
    "bin truncated": (lambda d: (d / "pytorch_model.bin").write_bytes(
        (save(d, tensors(), "pytorch_model.bin") / "pytorch_model.bin").read_bytes()[:500]), "pytorch_model.bin: "),
    "bin with code": (lambda d: broken_pickle(d / "pytorch_model.bin"), "which weft does not run"),
    "bin no dictionary": (lambda d: torch.save([torch.ones(1)], d / "pytorch_model.bin"),
                          "a dictionary of tensors, found a list"),
    "bin nested": (lambda d: torch.save({"state_dict": {"a": torch.ones(1)}, "step": 3}, d / "pytorch_model.bin"),
                   "'state_dict': dict"),
    "bin sparse": (lambda d: torch.save({"a": torch.eye(3).to_sparse()}, d / "pytorch_model.bin"),
                   "sparse or quantized"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_files_is_an_error_that_names_the_file(tmp_path, fault):
    plant, said = FAULTS[fault]
    plant(tmp_path)

    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path)

    assert said in str(caught.value)
    assert str(tmp_path) in str(caught.value)
