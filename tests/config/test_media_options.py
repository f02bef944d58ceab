"""What `mm_processor_kwargs` may hold for all prompts: settings of the processor, not its data."""

from __future__ import annotations

import pytest

from weft.config.media import read_processor_kwargs
from weft.errors import ConfigError


def test_settings_are_taken_as_they_are():
    assert read_processor_kwargs({"do_resize": False, "size": {"height": 8}}) == {
        "do_resize": False, "size": {"height": 8}}


@pytest.mark.parametrize("given", [{1: 2}, {"text": "a"}, {"images": []}, {"return_tensors": "np"}])
def test_what_is_no_setting_is_refused(given):
    with pytest.raises(ConfigError, match=r"mm_processor_kwargs = .*expected settings of the model.s processor"):
        read_processor_kwargs(given)
