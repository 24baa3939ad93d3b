"""What the command lines of all these programs share: how options are given, a table printed, an end told.

A program asks for its options by their defaults:

    given = options(__doc__, rows=5_000, kills=50, seed=1)

An option that several programs have is called the same, and means the same, in each of them.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

SHARED = {
    "rows": "rows of a run",
    "seed": "what all random choices are made of",
    "seeds": "how many seeds",
    "first": "the first seed, case or mutant",
    "kills": "how many kills in all",
    "every": "only each N-th case",
    "only": "only what is named so, or holds this in its name",
    "repeats": "how often; the median counts",
    "pairs": "how often each of the two, by turns",
    "stream": "streamed answers",
    "short": "a look in a minute or two",
}


@dataclass(frozen=True, slots=True)
class Option:
    """An option that says more of itself than its default.

    Attributes:
        choices: what may be given.
        many: it may be given more than once; all of them are a list, or None.
    """

    default: object = None
    help: str = ""
    choices: Iterable[str] | None = None
    many: bool = False
    kind: type = str


@dataclass(frozen=True, slots=True)
class Word:
    """A word that has no flag, in the order of the call; `many`: any number of them."""

    help: str = ""
    many: bool = False


def options(doc: str | None, **asked: object) -> argparse.Namespace:
    """What the command line gives for each of `asked`, by name; `--help` shows `doc`.

    A value of `asked` is the default, whose type is the option's, `False` for a flag; a path's and an
    unset option's are told by an `Option`; a word without a flag is a `Word`.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    for name, value in asked.items():
        flag = f"--{name.replace('_', '-')}"
        match value:
            case Word():
                parser.add_argument(name, help=value.help, nargs="*" if value.many else None)
            case False:
                parser.add_argument(flag, action="store_true", help=SHARED.get(name, ""))
            case Option():
                parser.add_argument(
                    flag,
                    default=value.default,
                    choices=value.choices and [*value.choices],
                    action="append" if value.many else "store",
                    type=value.kind,
                    help=value.help or SHARED.get(name, ""),
                )
            case _:
                said = f"{SHARED.get(name, '')} (default {value!r})".lstrip()
                parser.add_argument(flag, type=type(value), default=value, help=said)
    return parser.parse_args()


def one_of(names: Iterable[str]) -> Option:
    """`--only`, for one of `names`; None when it is not given."""
    return Option(choices=names)


def a_path(help: str) -> Option:  # noqa: A002 - as argparse calls it
    """The place of something that is there already."""
    return Option(help=help, kind=Path)


def table_head(*cells: str) -> None:
    """Prints the head of a table of Markdown."""
    table_row(*cells)
    print("|---" * len(cells) + "|", flush=True)


def table_row(*cells: object) -> None:
    """Prints a row of one, at once: the next may take minutes."""
    print("|", " | ".join(map(str, cells)), "|", flush=True)


def ended(problems: Sequence[str], *, most: int = 20) -> NoReturn:
    """Ends the program: with 1 when there are problems, the first of which are printed, a line each."""
    for problem in problems[:most]:
        print("-", re.sub(r"\n+", "\n  ", problem.strip()), flush=True)
    if len(problems) > most:
        print(f"- and {len(problems) - most} more")
    raise SystemExit(1 if problems else 0)
