"""Prints tables: coloured boxes on a terminal, aligned plain text elsewhere. Also formats counts for people.

Words and numbers are never broken: a table whose words do not fit into the terminal's width becomes a list of its rows.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Sequence

Row = Sequence[object]
_LONGEST_WORD = 40      # columns; longer ones are paths and keys, which may be broken


def print_table(columns: Sequence[str], rows: Sequence[Row], *, title: str = "", right: Sequence[str] = ()) -> None:
    """Prints a table. right: names of the right-aligned columns."""
    texts = [[str(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_rich(columns, texts, title, right)
    else:
        print(plain_table(columns, texts, title=title, right=right))


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "",
                right: Sequence[str] = ()) -> str:
    """The table as aligned text, after a line with the title."""
    widths = [max(_width(line[i]) for line in [list(columns), *rows]) for i in range(len(columns))]
    lines = [title] if title else []
    for cells in [list(columns), ["-" * width for width in widths], *rows]:
        padded = (_pad(cell, width, is_right=column in right)
                  for cell, width, column in zip(cells, widths, columns, strict=True))
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def row_list(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Each row as a block: its first cell, then a line for each other cell that is not empty, after the column's name.
    """
    width = max((_width(column) for column in columns[1:]), default=0)
    return "\n\n".join("\n".join([cells[0], *(f"  {_pad(column, width, is_right=False)}  {cell}"
                                               for column, cell in zip(columns[1:], cells[1:], strict=True) if cell)])
                       for cells in rows)


def least_widths(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """The columns of a terminal that each column needs so that none of its words is broken; the first one, no cell."""
    lines = [list(columns), *rows]
    first = max(_width(line[0]) for line in lines)
    return [first, *(max(_width(word) for line in lines for word in line[i].split() or [""])
                     for i in range(1, len(columns)))]


def _width(text: str) -> int:
    """Columns of a terminal that a text takes. A wide sign takes two, and so does one that is followed by U+FE0F."""
    return len(text) + sum(unicodedata.east_asian_width(sign) in "WF" for sign in text)


def _pad(text: str, width: int, *, is_right: bool) -> str:
    spaces = " " * (width - _width(text))
    return spaces + text if is_right else text + spaces


def human_count(count: float) -> str:
    """A number with a unit: `1.24 B` for 1,240,000,000 (K, M, B, T)."""
    for factor, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if abs(count) >= factor:
            return f"{count / factor:.2f} {unit}"
    return f"{count:g}"


def _print_rich(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str, right: Sequence[str]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    least = [min(width, _LONGEST_WORD) for width in least_widths(columns, rows)]
    if sum(least) + 3 * len(columns) + 1 > console.width:      # a border and two spaces for each column
        console.print(escape("\n\n".join([*([title] if title else []), row_list(columns, rows)])), highlight=False)
        return
    table = Table(title=escape(title) or None, title_justify="left", header_style="bold")
    for column, width in zip(columns, least, strict=True):
        table.add_column(escape(column), justify="right" if column in right else "left", min_width=width,
                         overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)
