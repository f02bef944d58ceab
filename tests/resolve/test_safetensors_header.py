"""A safetensors header is checked against the file before anything else is read."""

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_dir import write_header

from weft.errors import CheckpointError
from weft.resolve.safetensors_header import Entry, read_header


def write(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_entries_come_in_the_order_of_their_data(tmp_path):
    header = {"__metadata__": {"format": "pt"}, "b": entry(offsets=[8, 16]), "a": entry()}
    path = write(tmp_path / "f", header, bytes(16))
    start = path.stat().st_size - 16

    assert list(read_header(path).items()) == [("a", Entry("F32", (2,), start, start + 8)),
                                               ("b", Entry("F32", (2,), start + 8, start + 16))]


def test_scalars_and_empty_tensors_are_fine(tmp_path):
    path = write_header(tmp_path / "f", {"scalar": ("F32", [], 4), "none": ("F32", [0, 7], 0)})

    assert {name: e.shape for name, e in read_header(path).items()} == {"scalar": (), "none": (0, 7)}


FAULTS = {
    "dtype": ({"t": entry(dtype="F3")}, "dtype 'F3' is none"),
    "no dtype": ({"t": {"shape": [2], "data_offsets": [0, 8]}}, "dtype None"),
    "dtype type": ({"t": entry(dtype=["F32"])}, "dtype ['F32']"),
    "shape type": ({"t": entry() | {"shape": "2"}}, "is no list"),
    "negative": ({"t": entry(shape=[-2])}, "is no list"),
    "bool": ({"t": entry(shape=[True, 2])}, "is no list"),
    "many": ({"t": entry(shape=[1] * 1000 + [2])}, "at most 16 sizes"),
    "huge": ({"t": entry(shape=[2**62] * 16)}, "does not fit the 8 bytes"),
    "beyond": ({"t": entry(shape=[4], offsets=[0, 16])}, "ends after the file"),
    "wrong size": ({"t": entry(shape=[3])}, "[3] does not fit the 8 bytes"),
    "backwards": ({"t": entry(offsets=[8, 0])}, "are no [start, stop]"),
    "three offsets": ({"t": entry(offsets=[0, 4, 8])}, "are no [start, stop]"),
    "no object": ({"t": 3}, "is no object"),
    "overlap": ({"t": entry(), "u": entry(shape=[1], offsets=[4, 8])}, "the data of 'u' and 't' overlap"),
    "list": ([1], "no JSON object"),
    "no JSON": (b"{'t'", "not valid JSON"),
    "deep": (b"[" * 100_000, "not valid JSON"),
    "no UTF-8": (b'{"\xff": 1}', "not valid JSON"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_header_is_an_error_that_names_file_and_fault(tmp_path, fault):
    header, said = FAULTS[fault]
    path = write(tmp_path / "model.safetensors", header, bytes(8))

    with pytest.raises(CheckpointError) as caught:
        read_header(path)

    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)
    assert "download or save it again" in str(caught.value)


@pytest.mark.parametrize(("content", "said"), [
    (b"", "0 bytes, too short"), (b"1234567", "7 bytes, too short"), (b"\xff" * 8, "the file has 0 after the first 8"),
    ((2**40).to_bytes(8, "little") + b"{}", "says it has 1099511627776 bytes"),
])
def test_a_file_that_is_no_safetensors_file_is_an_error(tmp_path, content, said):
    (tmp_path / "f").write_bytes(content)

    with pytest.raises(CheckpointError, match=said):
        read_header(tmp_path / "f")


def test_a_truncated_file_is_an_error(tmp_path):
    path = write_header(tmp_path / "f", {"a": ("F32", [100], 400)})
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(CheckpointError, match="tensor 'a': its data ends after the file"):
        read_header(path)


def test_a_missing_file_and_a_directory_are_errors(tmp_path):
    with pytest.raises(CheckpointError, match="the file is missing"):
        read_header(tmp_path / "f")
    with pytest.raises(CheckpointError, match="not a file"):
        read_header(tmp_path)


@settings(max_examples=200, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 2**20), st.one_of(
    st.binary(min_size=1, max_size=1), st.sampled_from([b"99999999", b"-1", b"[[[[", b"null", b"1e99", b"\xff" * 8]))),
    min_size=1, max_size=4), cut=st.one_of(st.none(), st.integers(0, 2**20)))
def test_any_change_of_a_file_is_read_or_refused_without_a_large_allocation(tmp_path_factory, changes, cut):
    path = write(tmp_path_factory.mktemp("whole") / "f", {"a": entry(), "b": entry(offsets=[8, 16])}, bytes(16))
    data = bytearray(path.read_bytes())
    for at, new in changes:
        at %= len(data)
        data[at:at + len(new)] = new
    path.write_bytes(data[:cut if cut is None else cut % len(data)])

    tracemalloc.start()
    try:
        assert all(8 <= e.start <= e.stop <= len(data) for e in read_header(path).values())
    except CheckpointError as error:
        assert str(path) in str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 200_000
