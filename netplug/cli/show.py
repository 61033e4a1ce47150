"""Replies as text: plain columns, bold headings on a terminal, nothing cut off or folded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import click

# A line is as long as it has to be: half an address can be neither copied nor searched for.
_UNLIMITED_COLUMNS = 100_000
_SHORT_ID_LENGTH = 12


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned columns under their headings; under none if there are none."""
    from rich.console import Console
    from rich.table import Table

    grid = Table(*headings, box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    grid.show_header = bool(headings)
    for row in rows:
        grid.add_row(*row)
    console = Console(width=_UNLIMITED_COLUMNS, markup=False, emoji=False, highlight=False)
    with console.capture() as captured:
        console.print(grid)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def card(*lines: tuple[str, str]) -> None:
    """Print what one thing is, a property a line; those that are empty are left out."""
    table((), (line for line in lines if line[1]))


def section(title: str, lines: Sequence[str]) -> None:
    """Print `lines` under a title, apart from what stands above; nothing if there are none."""
    if lines:
        click.echo()
        table((title,), ((line,) for line in lines))


def short(thing_id: str) -> str:
    """Return the twelve characters of an id that Docker shows; they name it as well as all do."""
    return thing_id[:_SHORT_ID_LENGTH]


def count(number: int, noun: str) -> str:
    """Return "1 network", "2 networks"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def pairs(mapping: Mapping[str, str]) -> str:
    """Return "a=1, b=2"."""
    return ", ".join(f"{key}={value}" for key, value in mapping.items())
