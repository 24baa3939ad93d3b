"""Which texts a spreadsheet that opens a CSV file takes for a formula.

Excel, LibreOffice and Google Sheets take a cell that begins with = + - or @, in some locales in full width;
what is invisible before it (a tab, a line end, a byte order mark, a quote) does not hold them back. (OWASP,
"CSV Injection".) Of those that begin with a sign most are no formula: numbers, and text after a bullet.
"""

from __future__ import annotations

import re

_BEFORE = "\"'\ufeff\0" + " \t\r\n\v\f\u00a0"
_ALWAYS = ("=", "@", "\uff1d", "\uff20")
_SIGNS = "-+\uff0b\uff0d"  # - first: they stand in brackets

_DIGITS = r"(?:\d{1,3}(?:[,.'’_ \u00a0\u202f]\d{2,3})+|\d[\d_]*)?(?:[.,]\d*)?"
_SYMBOL = r"[A-Z]{0,3}[$€£¥₹₽₩₺₴₫₿¢]"
# *+ gives nothing back: a cell of a million blanks is looked at once
_NUMBER = re.compile(
    rf"[{_SIGNS}]\s*+(?:(?:{_SYMBOL}|[A-Z]{{3}}\s)\s*+)?(?=[.,]?\d){_DIGITS}(?:[eE][+-]?\d+)?"
    rf"\s*+(?:(?:[%‰]|{_SYMBOL}|[A-Z]{{3}})\s*+)?"
    r"|[+-](?:inf|infinity|nan)\s*+",
    re.IGNORECASE,
)
# a bullet, or a number with a unit or a sentence after it
_PROSE = re.compile(rf"[{_SIGNS}]+(?:\s|$)|[{_SIGNS}]\s*+(?=[.,]?\d){_DIGITS}\s*+(?:[%‰]\s*+)?(?:°|[^\W\d_])")
# a call, or = or @ after signs
_CALL = re.compile(r"[\w.]\(|\A[\s+\-\uff0b\uff0d]*+[=@\uff1d\uff20]")


def is_formula(text: str) -> bool:
    """Whether a spreadsheet may run `text` as a formula, or make another value of it."""
    text = text.lstrip(_BEFORE)
    if text.startswith(_ALWAYS):
        return True
    if not text or text[0] not in _SIGNS or _NUMBER.fullmatch(text):
        return False
    return _PROSE.match(text) is None or _does_something(text)


def _does_something(text: str) -> bool:
    """Whether prose after a bullet would do more than look odd in a spreadsheet that took it for a formula:
    call a function, or talk to another program (`cmd|…!…`)."""
    return _CALL.search(text) is not None or "!" in text.partition("|")[2]
