"""Expressions of a description as trees, and their text in lines of at most 120 characters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

WIDTH = 120


@dataclass(frozen=True, slots=True)
class Call:
    """A call with keyword arguments; a name of "" stands for a positional one."""

    function: str
    arguments: tuple[tuple[str, Node], ...]

    def __str__(self) -> str:
        return f"{self.opening}{', '.join(map(self.argument, range(len(self.arguments))))}{self.closing}"

    @property
    def opening(self) -> str:
        """What is before the arguments; a dictionary is a call of "dict" whose names are its keys."""
        return "{" if self.function == "dict" else f"{self.function}("

    @property
    def closing(self) -> str:
        """What is after the arguments."""
        return "}" if self.function == "dict" else ")"

    def label(self, number: int) -> str:
        """What is before an argument's value."""
        name = self.arguments[number][0]
        return f"{name}: " if self.function == "dict" else f"{name}=" if name else ""

    def argument(self, number: int) -> str:
        """An argument's text."""
        return f"{self.label(number)}{self.arguments[number][1]}"


@dataclass(frozen=True, slots=True)
class Choice:
    """`first if test else second`."""

    test: str
    first: Node
    second: Node

    def __str__(self) -> str:
        return f"{self.first} if {self.test} else {self.second}"


Node = str | Call | Choice


def pieces_in(node: Node) -> Iterator[Node]:
    """A tree and all trees in it, inner ones first."""
    match node:
        case Call(arguments=arguments):
            for _, value in arguments:
                yield from pieces_in(value)
        case Choice(first=first, second=second):
            yield from pieces_in(first)
            yield from pieces_in(second)
    yield node


def replaced(node: Node, names: dict[str, str]) -> Node:
    """The tree with variables in the place of calls. names: {text of the call: variable}."""
    if str(node) in names:
        return names[str(node)]
    match node:
        case Call(function, arguments):
            return Call(function, tuple((name, replaced(value, names)) for name, value in arguments))
        case Choice(test, first, second):
            return Choice(test, replaced(first, names), replaced(second, names))
    return node


def uses(node: Node, name: str) -> bool:
    """Whether the tree's text has a variable."""
    text = f" {node} "
    for sign in "()[],=%+-*/<>.":
        text = text.replace(sign, " ")
    return f" {name} " in text


def statement(before: str, node: Node, indent: int = 4, after: str = "") -> str:
    """`before` and the tree, in as many lines as the width needs. indent: of the statement, in characters."""
    return "\n".join(_lines(" " * indent + before, node, indent, after))


def _lines(before: str, node: Node, indent: int, after: str) -> list[str]:
    whole = f"{before}{node}{after}"
    if len(whole) <= WIDTH or isinstance(node, str):
        return [whole]
    pad = " " * (indent + 4)
    if isinstance(node, Choice):
        lines = _lines(f"{before}(", node.first, indent + 4, "")
        return [*lines, *_lines(f"{pad}if {node.test} else ", node.second, indent + 4, f"){after}")]
    lines, line = [f"{before}{node.opening}"], pad
    for number, (_, value) in enumerate(node.arguments):
        label, comma = node.label(number), "," if number + 1 < len(node.arguments) else ""
        piece = f"{label}{value}{comma}"
        if len(line) + len(piece) + 1 <= WIDTH:
            line += piece if line == pad else f" {piece}"
            continue
        if line != pad:
            lines.append(line)
        *done, line = _lines(f"{pad}{label}", value, indent + 4, comma)
        lines += done
        if done:
            lines.append(line)
            line = pad
    if line != pad:
        lines.append(line)
    lines[-1] += f"{node.closing}{after}"
    return lines
