"""Writes docs/cli.md from the commands' --help texts, so that the page and --help agree.

    python tools/make_cli_docs.py            writes the page
    python tools/make_cli_docs.py --check    exit status 1 when the page differs from --help

A test runs the check.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from weft.cli.environment import VARIABLES
from weft.cli.main import COMMANDS, build_parser, overview
from weft.cli.options import GROUPS
from weft.cli.parser import Parser

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
INTRODUCTION = """\
# The command line

This page is made by `tools/make_cli_docs.py` from what `--help` prints.

- Options are spelled with dashes or underscores: `--max-model-len`, `--max_model_len`.
- What is on is turned off by `--no-…`: `--no-enable-prefix-caching`. `=True` and `=False` are taken too.
- One key of a JSON option: `--hf-overrides.rope_scaling.factor=2`.
- Whole numbers may be short: `4k` is 4000, `4K` is 4096, `25.6k` is 25600; `m`, `g` and `t` likewise.
- `--config FILE.yaml` takes options from a file, one `option: value` a line; the command line wins.
- `--help=listgroup` lists the groups of a command's options, `--help=cache` shows one, `--help=len` shows the options
  with that in their name.
- The options of the engine are listed once, under [engine options](#engine-options).
- An error is one line on stderr; `--traceback` shows where it came from.
- All options of vLLM 0.6 to 0.33 are known; those that are not listed here are translated, have no effect (which is
  told once), or are refused with what to do instead.
"""
ENVIRONMENT = """\
## Environment

Each is also read with the prefix `VLLM_` when it is not set with `WEFT_`. Options win.

| variable | meaning |
|---|---|"""


def page() -> str:
    """The whole page."""
    os.environ["COLUMNS"] = "110"      # argparse wraps its help to the terminal
    parts = [INTRODUCTION, _section("weft", overview())]
    parts += [_section(f"weft {name}", _own_help(build_parser(name))) for name in COMMANDS]
    parts.append(_section("Engine options", _engine_help(build_parser("serve"))))
    rows = "\n".join(f"| `WEFT_{name}` | {text} |" for name, text in VARIABLES.items())
    parts.append(f"{ENVIRONMENT}\n{rows}\n| `HF_HOME`, `HF_TOKEN`, `HF_HUB_OFFLINE`, `HF_ENDPOINT` | the hub's own |\n")
    return "\n".join(parts)


def main() -> int:
    """Write or check."""
    if "--check" in sys.argv[1:]:
        is_current = PAGE.exists() and PAGE.read_text(encoding="utf-8") == page()
        print(f"{PAGE} is {'current' if is_current else 'not what --help says: run tools/make_cli_docs.py'}")
        return 0 if is_current else 1
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
    return 0


def _own_help(parser: Parser) -> str:
    """A command's help, with a word in place of the engine options."""
    groups = list(parser._action_groups)
    parser._action_groups = [group for group in groups if group.title not in GROUPS]
    return parser.format_help() + ("\nengine options:\n  as below\n" if parser._action_groups != groups else "")


def _engine_help(parser: Parser) -> str:
    formatter = parser._get_formatter()
    for group in parser._action_groups:
        if group.title in GROUPS:
            formatter.start_section(group.title)
            formatter.add_arguments(group._group_actions)
            formatter.end_section()
    return formatter.format_help()


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n```\n{text.strip()}\n```\n"


if __name__ == "__main__":
    sys.exit(main())
