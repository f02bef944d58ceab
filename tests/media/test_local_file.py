"""Files of one folder are read, and nothing beyond it."""

import os

import pytest

from weft.media.local_file import read_local_file


@pytest.fixture
def folder(tmp_path):
    inside = tmp_path / "inside"
    (inside / "deep").mkdir(parents=True)
    (inside / "a b.png").write_bytes(b"file")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "inside2").mkdir()
    (tmp_path / "inside2" / "secret").write_bytes(b"secret")
    (inside / "out").symlink_to(tmp_path / "secret")
    (inside / "up").symlink_to(tmp_path)
    (inside / "in").symlink_to(inside / "a b.png")
    (inside / "circle").symlink_to(inside / "circle")
    os.mkfifo(inside / "pipe")
    return inside


def test_a_file_in_the_folder_is_read_also_by_a_link_within(folder):
    for name in ("a%20b.png", "deep/../a%20b.png", "in"):
        assert read_local_file(f"file://{folder}/{name}", str(folder), 4) == b"file"
    assert read_local_file(f"FILE://localhost{folder}/in", str(folder), 4) == b"file"


@pytest.mark.parametrize("name", ["../secret", "..%2fsecret", "out", "up/secret", "../inside2/secret",
                                  "deep/../../secret", "pipe", "deep", "none", "circle", "a%00b", "x" * 300,
                                  "x/" * 3000, ""])
def test_nothing_else_is(folder, name):
    with pytest.raises(ValueError, match=r"outside|no such file|expected a path"):
        read_local_file(f"file://{folder}/{name}", str(folder), 100)


def test_hosts_relative_paths_long_files_and_servers_without_a_folder_are_refused(folder):
    for url in (f"file://elsewhere{folder}/in", "file:in", "file://[/in"):
        with pytest.raises(ValueError, match=r"expected a path|Invalid IPv6"):
            read_local_file(url, str(folder), 100)
    with pytest.raises(ValueError, match="more than 3 bytes"):
        read_local_file(f"file://{folder}/in", str(folder), 3)
    with pytest.raises(ValueError, match="allowed_local_media_path"):
        read_local_file(f"file://{folder}/in", "", 100)
