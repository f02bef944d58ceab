"""A GGUF header is checked against the file before anything is read into memory."""

import struct
import tracemalloc

import gguf
import numpy as np
import pytest
from gguf_bytes import ARRAY, BOOL, F32, STRING, U8, U32, U64, entry, string, tensor, value, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weft.errors import CheckpointError
from weft.resolve.gguf.header import TYPES, GGUFTensor, read_gguf


def test_metadata_and_tensors_are_those_that_the_gguf_package_wrote(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_uint64("big", 2**63)
    writer.add_int8("small", -3)
    writer.add_float32("eps", 1e-6)
    writer.add_float64("exact", 0.1)
    writer.add_bool("flag", True)
    writer.add_string("text", "naïve")
    writer.add_array("words", ["a", "", "é"])
    writer.add_array("numbers", [1, -2, 3])
    matrix = np.arange(64, dtype=np.float32).reshape(2, 32)
    writer.add_tensor("matrix", matrix)
    writer.add_tensor("blocks", gguf.quants.quantize(matrix, gguf.GGMLQuantizationType.Q8_0),
                      raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    header = read_gguf(tmp_path / "m.gguf")

    assert {k: v for k, v in header.metadata.items() if k != "numbers"} == {
        "general.architecture": "llama", "big": 2**63, "small": -3, "eps": 1e-6, "exact": 0.1, "flag": True,
        "text": "naïve", "words": ["a", "", "é"]}
    assert header.metadata["numbers"].tolist() == [1, -2, 3]
    assert [(name, t.type.name, t.shape) for name, t in header.tensors.items()] == [
        ("matrix", "F32", (2, 32)), ("blocks", "Q8_0", (2, 32))]
    data = (tmp_path / "m.gguf").read_bytes()
    found = header.tensors["matrix"]
    assert np.array_equal(np.frombuffer(data[found.start:found.stop], "<f4").reshape(2, 32), matrix)


def test_block_sizes_are_those_of_the_gguf_package():
    # (Of Q8_1, which no file holds, the package still has the size of an older layout.)
    known = {kind.name: gguf.GGML_QUANT_SIZES[kind] for kind in gguf.GGMLQuantizationType
             if kind.name in {entry.name for entry in TYPES.values()} - {"Q8_1"}}

    assert {entry.name: (entry.block_size, entry.num_bytes) for entry in TYPES.values()
            if entry.name in known} == known
    assert {number: entry.name for number, entry in TYPES.items() if entry.name in known} == {
        int(gguf.GGMLQuantizationType[name]): name for name in known}


def test_tensors_come_in_the_order_of_their_data_which_begins_at_the_alignment(tmp_path):
    path = write(tmp_path / "f", [entry("general.alignment", U32, 64)],
                 [tensor("b", (8,), offset=64), tensor("a", (8,), offset=0)], bytes(96), align=64)
    start = path.stat().st_size - 96

    assert read_gguf(path).tensors == {"a": GGUFTensor(TYPES[0], (8,), start, start + 32),
                                       "b": GGUFTensor(TYPES[0], (8,), start + 64, start + 96)}
    assert start % 64 == 0


HUGE = 2**63
FAULTS = {
    "magic": (dict(magic=b"GGML"), "begins with b'GGML', not with b'GGUF'"),
    "version": (dict(version=1), "version 1, expected 2 or 3"),
    "byte order": (dict(version=3 << 24), "other byte order"),
    "tensor count": (dict(counts=(HUGE, 0)), "9223372036854775808 tensors and 0 metadata keys do not fit"),
    "metadata count": (dict(counts=(0, 1000)), "0 tensors and 1000 metadata keys do not fit"),
    "key length": (dict(entries=[struct.pack("<Q", HUGE) + bytes(20)]), "key 0: 9223372036854775808 bytes at"),
    "empty key": (dict(entries=[entry("", U32, 1)]), "key 0: 0 characters"),
    "key twice": (dict(entries=[entry("k", U32, 1)] * 2), "key 'k' is there twice"),
    "key text": (dict(entries=[string(b"\xff") + value(U32, 1)]), "key 0: byte 0 of a string is not UTF-8"),
    "value text": (dict(entries=[entry("k", STRING, b"a\xff")]), "k: byte 1 of a string is not UTF-8"),
    "value type": (dict(entries=[string("k") + struct.pack("<II", 13, 0)]), "k: value type 13"),
    "boolean": (dict(entries=[entry("k", BOOL, 2)]), "k: 2, expected a boolean"),
    "string length": (dict(entries=[string("k") + struct.pack("<IQ", STRING, HUGE)]), "k: 9223372036854775808 bytes"),
    "array length": (dict(entries=[string("k") + struct.pack("<IIQ", ARRAY, F32, HUGE)]), "k: 36893488147419103232 b"),
    "strings": (dict(entries=[string("k") + struct.pack("<IIQ", ARRAY, STRING, HUGE)]), "k: 9223372036854775808 st"),
    "nested": (dict(entries=[entry("k", ARRAY, (ARRAY, []))]), "k: elements of type 9"),
    "alignment": (dict(entries=[entry("general.alignment", U32, 24)]), "general.alignment: 24, expected a power"),
    "no alignment": (dict(entries=[entry("general.alignment", U32, 0)]), "general.alignment: 0, expected a power"),
    "alignment type": (dict(entries=[entry("general.alignment", STRING, "x")]), "general.alignment: str, expected"),
    "huge alignment": (dict(entries=[entry("general.alignment", U64, 2**40)]), "general.alignment: 1099511627776"),
    "dimensions": (dict(tensors=[tensor("t", (1,) * 5)]), "tensor 't': 5 dimensions, expected at most 4"),
    "many dimensions": (dict(tensors=[string("t") + struct.pack("<I", 2**31) + bytes(40)]), "2147483648 dimensions"),
    "type": (dict(tensors=[tensor("t", kind=99)]), "tensor 't': type 99 is none that weft knows"),
    "block": (dict(tensors=[tensor("t", (33,), kind=2)]), "rows of 33 numbers, no multiple of the 32 of a Q4_0 block"),
    "beyond": (dict(tensors=[tensor("t", (9,))]), "tensor 't': F32 [9] at offset 0 ends after the file"),
    "offset": (dict(tensors=[tensor("t", (1,), offset=HUGE)]), "ends after the file"),
    "unaligned": (dict(tensors=[tensor("t", (1,), offset=4)]), "offset 4 is no multiple of the alignment 32"),
    "size": (dict(tensors=[tensor("t", (HUGE, HUGE))]), "ends after the file"),
    "overlap": (dict(tensors=[tensor("a"), tensor("b")]), "the data of tensors 'b' and 'a' overlap"),
    "twice": (dict(tensors=[tensor("a"), tensor("a")]), "tensor 'a' is there twice"),
    "name": (dict(tensors=[tensor("")]), "name of tensor 0: 0 characters"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_header_is_an_error_that_names_file_and_key(tmp_path, fault):
    parts, said = FAULTS[fault]
    path = write(tmp_path / "model.gguf", **parts)

    with pytest.raises(CheckpointError) as caught:
        read_gguf(path)

    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)


def test_a_file_that_ends_early_is_an_error_wherever_it_ends(tmp_path):
    whole = write(tmp_path / "f", [entry("k", STRING, "text"), entry("n", ARRAY, (U32, [1, 2]))],
                  [tensor("t", (8, 2))], bytes(64)).read_bytes()

    for length in range(len(whole)):
        (tmp_path / "g").write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"/g: "):
            read_gguf(tmp_path / "g")


def test_a_missing_file_and_a_directory_are_errors(tmp_path):
    with pytest.raises(CheckpointError, match="the file is missing"):
        read_gguf(tmp_path / "f")
    with pytest.raises(CheckpointError, match="not a file"):
        read_gguf(tmp_path)


def whole_file(tmp_path_factory) -> bytes:
    return write(tmp_path_factory.mktemp("whole") / "f", [
        entry("general.architecture", STRING, "llama"), entry("general.alignment", U32, 32),
        entry("tokens", ARRAY, (STRING, ["a", "bc", ""])), entry("scores", ARRAY, (F32, [0.5, -1.0])),
        entry("flag", BOOL, 1), entry("small", U8, 3), entry("large", U64, 2**40),
    ], [tensor("a", (8, 2)), tensor("b", (32,), kind=2, offset=64)], bytes(96)).read_bytes()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 2**20), st.one_of(
    st.binary(min_size=1, max_size=1),
    st.sampled_from([b"\xff" * 4, b"\xff" * 8, bytes(8), struct.pack("<Q", 2**31), struct.pack("<Q", HUGE),
                     struct.pack("<I", 9), struct.pack("<I", 8)]))), min_size=1, max_size=4),
    cut=st.one_of(st.none(), st.integers(0, 2**20)))
def test_any_change_of_a_file_is_read_or_refused_without_a_large_allocation(tmp_path_factory, changes, cut):
    data = bytearray(whole_file(tmp_path_factory))
    for at, new in changes:
        at %= len(data)
        data[at:at + len(new)] = new
    path = tmp_path_factory.mktemp("changed") / "f"
    path.write_bytes(data[:cut if cut is None else cut % len(data)])

    tracemalloc.start()
    try:
        header = read_gguf(path)
        assert all(0 < t.start <= t.stop <= len(data) for t in header.tensors.values())
    except CheckpointError as error:
        assert str(path) in str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 200_000
