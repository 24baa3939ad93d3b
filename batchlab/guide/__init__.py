"""The manual: a page a topic, in the package, as `batchlab guide TOPIC` prints them.

Notes for the tests of a page's blocks are HTML comments above them, which are not shown.
"""

from __future__ import annotations

from pathlib import Path

_PAGES = Path(__file__).parent


def topics() -> dict[str, str]:
    """Each page's name and its title, in the order of the names."""
    pages = sorted(_PAGES.glob("*.md"))
    return {path.stem: path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ") for path in pages}


def page(topic: str) -> str:
    """The page, as Markdown. Raises KeyError when there is none of that name."""
    if topic not in topics():
        raise KeyError(topic)
    lines = (_PAGES / f"{topic}.md").read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("<!--"))
