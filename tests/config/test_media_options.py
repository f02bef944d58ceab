"""Options about media: settings of the processor, not its data, in `mm_processor_kwargs`; where files may come from."""

from __future__ import annotations

import pytest

from weft.config.engine_args import EngineArgs
from weft.config.media import read_local_path, read_processor_kwargs
from weft.errors import ConfigError


def test_settings_are_taken_as_they_are():
    assert read_processor_kwargs({"do_resize": False, "size": {"height": 8}}) == {
        "do_resize": False, "size": {"height": 8}}


@pytest.mark.parametrize("given", [{1: 2}, {"text": "a"}, {"images": []}, {"return_tensors": "np"}])
def test_what_is_no_setting_is_refused(given):
    with pytest.raises(ConfigError, match=r"mm_processor_kwargs = .*expected settings of the model.s processor"):
        read_processor_kwargs(given)


@pytest.mark.parametrize(("name", "value", "expected"), [
    ("allowed_media_domains", ["https://a.example"], "names of hosts"),
    ("allowed_media_domains", ["*.example"], "names of hosts"),
    ("allowed_media_domains", [""], "names of hosts"), ("allowed_media_networks", ["10.1.2.3/8"], "has host bits set"),
    ("allowed_media_networks", ["localhost"], "networks, such as"), ("media_fetch_timeout", 0.0, "seconds above 0"),
    ("media_fetch_timeout", float("inf"), "seconds above 0"), ("allowed_local_media_path", 5, "str")])
def test_a_source_of_files_that_cannot_be_is_refused_by_name(name, value, expected):
    with pytest.raises(ConfigError, match=f"^{name} = .*{expected}"):
        EngineArgs(**{name: value})


def test_the_local_folder_has_to_be_there(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)

    assert read_local_path("") == ""
    assert read_local_path(str(tmp_path / "link")) == str(tmp_path.resolve())
    for name in ("none", "file"):
        with pytest.raises(ConfigError, match=r"allowed_local_media_path = .*a folder that exists"):
            read_local_path(str(tmp_path / name))
