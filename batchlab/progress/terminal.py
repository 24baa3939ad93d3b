"""What a terminal can show: its width, colour, and what becomes of a line when it is made narrower."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping
from typing import TextIO

_RED, _PLAIN = "\x1b[31m", "\x1b[0m"
_TROUBLE = re.compile(r"^stopped:|\b[1-9][\d,]* failed\b")
# set by terminals that wrap old lines anew when they are resized; xterm cuts them off
_REWRAPS = ("TMUX", "VTE_VERSION", "KITTY_WINDOW_ID", "ALACRITTY_WINDOW_ID", "WT_SESSION", "TERM_PROGRAM")


def is_dumb(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the terminal says that it can only print lines."""
    return environ.get("TERM") == "dumb"


def uses_colour(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether to write colours: on a terminal, unless NO_COLOR (no-color.org); FORCE_COLOR: anywhere."""
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and not is_dumb(environ)


def with_trouble_in_red(text: str, stream: TextIO) -> str:
    """`text` with failed rows and an early stop in red, where `stream` takes colours."""
    if not uses_colour(stream):
        return text
    return _TROUBLE.sub(lambda found: f"{_RED}{found.group()}{_PLAIN}", text)


def columns(stream: TextIO, default: int | None = None) -> int | None:
    """Width of the terminal that `stream` is; `default` when it is none, or does not say."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or default
    except (OSError, ValueError):
        return default


def width(text: str) -> int:
    """Columns that `text` takes: East Asian wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1
        for one in text
    )


def rewraps(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the terminal is known to wrap a line anew that has become too long for it."""
    return any(name in environ for name in _REWRAPS) and "XTERM_VERSION" not in environ


def erased(line_width: int, now_columns: int, environ: Mapping[str, str] = os.environ) -> str:
    """What to write to erase the line the cursor is on, after the terminal has become narrower.

    A terminal that wrapped it anew shows it on several rows, the cursor on the last.
    """
    above = max(0, -(-line_width // max(1, now_columns)) - 1) if rewraps(environ) else 0
    return (f"\x1b[{above}A" if above else "") + "\r\x1b[J"
