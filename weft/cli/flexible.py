"""`FlexibleArgumentParser`: the parser of scripts written for vLLM, with the spellings of the `weft` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from typing import Any

from weft.cli.config_file import with_config_file
from weft.cli.parser import Parser, spelled


class FlexibleArgumentParser(Parser):
    """An ArgumentParser that takes `--a_b` for `--a-b`, `--a.b=v` for a key of a JSON option, and `--config FILE.yaml`
    where the option is defined."""

    def parse_known_args(self, args: Iterable[str] | None = None, namespace: Any = None    # pyright: ignore
                         ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse's, after the spellings. A flag that is defined with underscores keeps them."""
        dashed = {flag.replace("_", "-"): flag for flag in self.flags() if "_" in flag}
        given = with_config_file(spelled(sys.argv[1:] if args is None else list(args)), self)
        names = [argument.partition("=") for argument in given]
        return super().parse_known_args([dashed.get(name, name) + equals + value for name, equals, value in names],
                                        namespace)
