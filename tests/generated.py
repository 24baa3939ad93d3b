"""Files of the package that are made of what the code declares: settings, modules, a run's files.

python -m tests.generated        # after a setting or a module was added or changed; a test tells when it is due
"""

from __future__ import annotations

from collections.abc import Callable

from batchlab.api.signatures import stub
from batchlab.guide.house_map import design_page
from batchlab.guide.setting_table import settings_page
from tests.conftest import ROOT
from tests.proofs.arguments import options

GENERATED: dict[str, Callable[[], str]] = {
    "batchlab/__init__.pyi": stub,
    "batchlab/guide/settings.md": settings_page,
    "batchlab/guide/design.md": design_page,
}


def main() -> None:
    """Writes each of them."""
    options(__doc__)
    for name, text in GENERATED.items():
        (ROOT / name).write_text(text(), encoding="utf-8")
        print(f"wrote {name}")


if __name__ == "__main__":
    main()
