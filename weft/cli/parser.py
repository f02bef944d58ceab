"""`Parser`: argparse with one-line errors, `--help=GROUP`, and more spellings (`--a_b`, `--a.b=v`, `4k`, `--a=True`).

Errors name the nearest known option, and help looks the same under every Python version. This module knows no option by
name.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from weft.config.flags import json_or_text
from weft.errors import nearest

_TRUTH = {"True": True, "true": True, "False": False, "false": False}


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Formats an option as all its names followed by its value, once."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return action.metavar if isinstance(action.metavar, str) else action.dest
        names = ", ".join(action.option_strings)
        if isinstance(action, argparse.BooleanOptionalAction):
            return ", ".join(n.replace("--", "--[no-]", 1) for n in action.option_strings if not n.startswith("--no-"))
        return names if action.nargs == 0 else f"{names} {self._format_args(action, action.dest.upper())}"


class HelpAction(argparse.Action):
    """`--help`, `--help=listgroup`, `--help=GROUP`, `--help=WORD` (the options with WORD in their names)."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs="?", metavar="WHAT", default=argparse.SUPPRESS,
                         help="show this; WHAT: listgroup, a group's name, or a piece of an option's name")

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option_string: Any = None) -> None:
        print(parser.format_help() if values is None else _part_of_help(parser, str(values)), end="")
        parser.exit()


class Parser(argparse.ArgumentParser):
    """An ArgumentParser without abbreviated options and with one-line errors. Its flags take `=True` and `=False`."""

    def __init__(self, **settings: Any) -> None:
        settings = {"formatter_class": Formatter, "allow_abbrev": False, "add_help": False} | settings
        super().__init__(**settings)
        self.add_argument("-h", "--help", action=HelpAction)

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with status 2."""
        self.exit(2, f"{self.prog}: error: {message}. See {self.prog} --help.\n")

    def flags(self) -> tuple[str, ...]:
        """All option strings, including those of hidden options."""
        return tuple(self._option_string_actions)

    def takes(self, flag: str) -> bool:
        """True if the option takes a value."""
        return self._option_string_actions[flag].nargs != 0

    def switch(self, flag: str, value: bool) -> list[str]:
        """The arguments that set an option without a value to `value`: the flag, its `--no-` form, or none."""
        action = self._option_string_actions[flag]
        if not isinstance(action, argparse.BooleanOptionalAction):
            return [flag] * value
        value = value is not flag.startswith("--no-")
        return [next(name for name in action.option_strings if name.startswith("--no-") is not value)]

    def parse_known_args(self, args: Iterable[str] | None = None, namespace: Any = None    # pyright: ignore
                         ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse's, with `--flag=True`, `--flag False` and the like for options without a value."""
        return super().parse_known_args(self._switched(sys.argv[1:] if args is None else list(args)), namespace)

    def _switched(self, argv: Sequence[str]) -> list[str]:
        out: list[str] = []
        rest = list(argv)
        while rest and rest[0] != "--":
            flag, equals, value = rest.pop(0).partition("=")
            if not self._is_switch(flag):
                out.append(flag + equals + value)
                continue
            if not equals and rest and rest[0] in _TRUTH:
                value = rest.pop(0)
            elif equals and value not in _TRUTH:
                self.error(f"{flag} = {value!r}: expected no value, True or False")
            out += self.switch(flag, _TRUTH.get(value, True))
        return out + rest

    def _is_switch(self, flag: str) -> bool:
        action = self._option_string_actions.get(flag)
        return isinstance(action, argparse.BooleanOptionalAction) or (
            action is not None and action.nargs == 0 and action.const is True)

    def refuse_unknown(self, extras: Sequence[str]) -> None:
        """Exit with an error if there are unknown arguments; name the nearest known option."""
        if not extras:
            return
        name = extras[0].partition("=")[0]
        near = nearest(name, self.flags())
        if not name.startswith("-"):
            self.error(f"unexpected argument {name!r}")
        self.error(f"unknown option {name}" + (f"; did you mean {near[0]}" if near else ""))


def spelled(argv: Sequence[str]) -> list[str]:
    """The arguments with `--a_b` as `--a-b`, and `--a.b.c=v` (or `--a.b.c v`) as `--a {"b": {"c": v}}`.

    Keys after the first dot are unchanged. v is parsed as JSON if possible; otherwise it is a string.
    """
    out: list[str] = []
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            return [*out, argument, *rest]
        if not argument.startswith("--"):
            out.append(argument)
            continue
        name, equals, value = argument.partition("=")
        flag, *keys = name.split(".")
        flag = flag.replace("_", "-")
        if keys and all(keys):
            value = value if equals or not rest else rest.pop(0)
            out += [flag, json.dumps(_nested(keys, json_or_text(value)))]
        else:
            out.append(flag + "".join(f".{key}" for key in keys) + equals + value)
    return out


def _nested(keys: Sequence[str], value: Any) -> Any:
    for key in reversed(keys):
        value = {key: value}
    return value


def _part_of_help(parser: argparse.ArgumentParser, what: str) -> str:
    groups = [group for group in parser._action_groups if group._group_actions and group.title]
    if what.lower() == "listgroup":
        return "".join(f"{group.title}\n" for group in groups)
    formatter = Formatter(parser.prog)
    chosen = [group for group in groups if str(group.title).lower() == what.lower()]
    word = what.lstrip("-").replace("_", "-").lower()
    for group in chosen or groups:
        actions = [a for a in group._group_actions if chosen or any(word in flag for flag in a.option_strings)]
        if actions:
            formatter.start_section(group.title)
            formatter.add_arguments(actions)
            formatter.end_section()
    return formatter.format_help() or f"No group and no option has {what!r} in its name; see --help=listgroup.\n"
