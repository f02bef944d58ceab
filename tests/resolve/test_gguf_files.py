"""Which names mean a GGUF model, which file of a folder is meant, and which files belong together."""

import huggingface_hub
import pytest
from gguf_bytes import STRING, U32, entry, tensor, write

from weft.config.engine_args import EngineArgs
from weft.errors import CheckpointError, ConfigError
from weft.resolve import (
    check_gguf_file,
    is_gguf,
    is_remote_gguf,
    is_valid_gguf_quant_type,
    split_remote_gguf,
)
from weft.resolve.files import find_model, find_tokenizer
from weft.resolve.gguf.files import choose_gguf_file, local_gguf, part_names
from weft.resolve.gguf.model import read_gguf_model


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write(folder / name)
    return folder


@pytest.mark.parametrize("name", ["Q4_0", "q4_k_m", "Q4_K_XL", "UD-Q4_K_XL", "IQ4_NL", "IQ4_XS", "IQ2_M", "BF16", "F32",
                                  "MXFP4_MOE", "IQ3_XXS", "Q6_K"])
def test_quant_names(name):
    assert is_valid_gguf_quant_type(name)


@pytest.mark.parametrize("name", ["", "main", "latest", "Q4", "Q4_K_Q", "8b", "/Q4_0", "Q4_0/x", "Q4 0", "-Q4_0"])
def test_other_words_are_no_quant_names(name):
    assert not is_valid_gguf_quant_type(name)


@pytest.mark.parametrize("name, expected", [
    ("org/repo:Q4_K_M", ("org/repo", "Q4_K_M")), ("org/repo/file-Q8_0.gguf", ("org/repo", "file-Q8_0.gguf")),
    ("org/repo/Q8_0/part-00001-of-00002.gguf", ("org/repo", "Q8_0/part-00001-of-00002.gguf")),
])
def test_remote_names_are_split_into_repository_and_file(name, expected):
    assert is_remote_gguf(name) and is_gguf(name)
    assert split_remote_gguf(name) == expected


@pytest.mark.parametrize("name", ["org/repo", "org/repo:main", "repo:Q4_0", "file.gguf", "./a/b/file.gguf",
                                  "/a/b/file.gguf", "~/a/b.gguf", "org/file.gguf", "a/b/c:Q4_0", ""])
def test_other_names_are_not_remote(name):
    assert not is_remote_gguf(name)
    with pytest.raises(ConfigError, match=r"expected org/repo:QUANT or org/repo/file.gguf"):
        split_remote_gguf(name)


def test_what_lies_on_this_machine_is_not_remote(tmp_path, monkeypatch):
    touch(tmp_path / "org" / "repo", "m-Q4_0.gguf")
    monkeypatch.chdir(tmp_path)

    assert not is_remote_gguf("org/repo:Q4_0") and is_gguf("org/repo:Q4_0")
    assert not is_remote_gguf("org/repo/m-Q4_0.gguf") and is_gguf("org/repo/m-Q4_0.gguf")
    assert local_gguf("org/repo:Q4_0") == tmp_path / "org" / "repo" / "m-Q4_0.gguf"


def test_a_file_is_known_by_its_suffix_or_by_its_first_bytes(tmp_path):
    write(tmp_path / "a.bin")
    (tmp_path / "b.gguf").write_bytes(b"")
    (tmp_path / "c.bin").write_bytes(b"GGM")

    assert [check_gguf_file(tmp_path / name) for name in ("a.bin", "b.gguf", "c.bin", "d.gguf")] == [
        True, True, False, False]
    assert not check_gguf_file(tmp_path)
    assert not check_gguf_file("a\0b")


REPOSITORY = ["README.md", "m-Q4_K_M.gguf", "m-Q4_K_S.gguf", "m-Q4_K.gguf", "m-IQ4_XS.gguf", "m-UD-Q4_K_XL.gguf",
              "m-F16-00001-of-00002.gguf", "m-F16-00002-of-00002.gguf", "mmproj-m-Q8_0.gguf",
              "Q8_0/m-Q8_0-00001-of-00002.gguf", "Q8_0/m-Q8_0-00002-of-00002.gguf", "m-Q5_K_M-imatrix.gguf"]


@pytest.mark.parametrize("wanted, expected", [
    ("Q4_K_M", "m-Q4_K_M.gguf"), ("q4_k_m", "m-Q4_K_M.gguf"), ("Q4_K", "m-Q4_K.gguf"), ("IQ4_XS", "m-IQ4_XS.gguf"),
    ("UD-Q4_K_XL", "m-UD-Q4_K_XL.gguf"), ("F16", "m-F16-00001-of-00002.gguf"), ("Q5_K_M", "m-Q5_K_M-imatrix.gguf"),
    ("Q8_0", "Q8_0/m-Q8_0-00001-of-00002.gguf"), ("m-Q4_K_S.gguf", "m-Q4_K_S.gguf"),
])
def test_quant_chooses_a_file_and_of_a_split_model_its_first(wanted, expected):
    assert choose_gguf_file(REPOSITORY, wanted, source="org/repo") == expected


@pytest.mark.parametrize("wanted, said", [("Q6_K", "expected a .gguf file of Q6_K. There are: Q8_0/m-Q8_0-00001"),
                                          (None, "expected one GGUF model. There are:")])
def test_no_file_or_an_open_choice_is_an_error_that_lists_what_there_is(wanted, said):
    with pytest.raises(ConfigError, match=said):
        choose_gguf_file(REPOSITORY, wanted, source="org/repo")
    with pytest.raises(ConfigError, match=r"There are: no .gguf files"):
        choose_gguf_file(["config.json"], wanted, source="org/repo")


def test_a_folder_means_its_only_gguf_model(tmp_path):
    touch(tmp_path / "split", "m-00001-of-00002.gguf", "m-00002-of-00002.gguf", "mmproj-m.gguf", "README.gguf.txt")
    touch(tmp_path / "several", "a.gguf", "b.gguf")
    touch(tmp_path / "both", "a.gguf", "model.safetensors")

    found = find_model(EngineArgs(model=str(tmp_path / "split")))
    assert (found.directory, found.gguf) == (tmp_path / "split", tmp_path / "split" / "m-00001-of-00002.gguf")
    assert found.source == "local GGUF file"
    with pytest.raises(ConfigError, match=r"There are: a.gguf, b.gguf. Pass the file's path, or add :QUANT"):
        find_model(EngineArgs(model=str(tmp_path / "several")))
    assert find_model(EngineArgs(model=str(tmp_path / "both"))).gguf is None


def test_a_file_brings_its_own_tokenizer_unless_one_lies_beside_it(tmp_path):
    touch(tmp_path, "m.gguf", "other/t.gguf")
    args = EngineArgs(model=str(tmp_path / "m.gguf"))
    model = find_model(args)

    assert find_tokenizer(args, model) == tmp_path / "m.gguf"
    other = EngineArgs(model=str(tmp_path / "m.gguf"), tokenizer=str(tmp_path / "other" / "t.gguf"))
    assert find_tokenizer(other, model) == tmp_path / "other" / "t.gguf"
    (tmp_path / "tokenizer.json").write_text("{}")
    assert find_tokenizer(args, model) == tmp_path


def test_a_remote_file_in_another_load_format_is_an_error_without_asking_the_hub(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda *a, **k: pytest.fail("asked the hub"))

    with pytest.raises(ConfigError, match=r"load_format = 'pt' \(in org/repo:Q4_K_M\): expected auto or gguf"):
        find_model(EngineArgs(model="org/repo:Q4_K_M", load_format="pt"))


@pytest.mark.parametrize("load_format, name", [("safetensors", "m.gguf"), ("pt", "m.gguf"), ("gguf", ".")])
def test_a_load_format_that_is_not_the_models_is_an_error(tmp_path, load_format, name):
    touch(tmp_path, "m.gguf", "model.safetensors")

    with pytest.raises(ConfigError, match=f"load_format = '{load_format}'"):
        find_model(EngineArgs(model=str(tmp_path / name), load_format=load_format))


def test_the_model_inside_the_package_is_no_gguf_file():
    with pytest.raises(ConfigError, match=r"load_format = 'gguf' \(in weft-embedded\): expected another format"):
        find_model(EngineArgs(load_format="gguf"))


def part(path, number, count, *names, total=None):
    entries = [entry("split.no", U32, number), entry("split.count", U32, count)]
    entries += [entry("split.tensors.count", U32, total)] if total is not None else []
    return write(path, entries, [tensor(name, offset=32 * i) for i, name in enumerate(names)], bytes(32 * len(names)))


@pytest.mark.parametrize("name, expected", [
    ("m.gguf", ["m.gguf"]),
    ("Q8/m-Q8_0-00002-of-00003.gguf", [f"Q8/m-Q8_0-0000{n}-of-00003.gguf" for n in (1, 2, 3)]),
])
def test_the_names_of_all_parts_follow_from_one(name, expected):
    assert part_names(name) == expected


def test_parts_are_one_model(tmp_path):
    part(tmp_path / "m-00001-of-00002.gguf", 0, 2, "a", "b", total=3)
    part(tmp_path / "m-00002-of-00002.gguf", 1, 2, "c")

    found = read_gguf_model(tmp_path / "m-00002-of-00002.gguf")

    assert sorted(found.tensors) == ["a", "b", "c"]
    assert found.metadata["split.tensors.count"] == 3


def test_parts_that_are_missing_or_of_another_model_are_errors(tmp_path):
    first = part(tmp_path / "m-00001-of-00002.gguf", 0, 2, "a", total=2)
    with pytest.raises(CheckpointError, match=r"1 of 2 parts are missing: m-00002-of-00002.gguf"):
        read_gguf_model(first)
    part(tmp_path / "m-00002-of-00002.gguf", 0, 2, "b")
    with pytest.raises(CheckpointError, match=r"00002-of-00002.gguf: split.no = 0, .* expected 1 and 2"):
        read_gguf_model(first)
    part(tmp_path / "m-00002-of-00002.gguf", 1, 2, "b", "c")
    with pytest.raises(CheckpointError, match=r"split.tensors.count = 2, the files have 3"):
        read_gguf_model(first)
    part(tmp_path / "m-00002-of-00002.gguf", 1, 2, "a")
    with pytest.raises(CheckpointError, match=r"'a' is in two files"):
        read_gguf_model(first)
    write(tmp_path / "m-00002-of-00002.gguf", [entry("split.no", STRING, "1")])
    with pytest.raises(CheckpointError, match=r"split.no: str, expected an integer"):
        read_gguf_model(first)
    with pytest.raises(CheckpointError, match=r"expected 0 and 1"):      # renamed, so that its name says nothing
        read_gguf_model(first.rename(tmp_path / "model.gguf"))
    with pytest.raises(CheckpointError, match=r"part 3 of 2"):
        read_gguf_model(write(tmp_path / "n-00003-of-00002.gguf"))
