"""What a report's page was given, for whoever asks what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def page_data(report: Path) -> dict[str, Any]:
    """The data inside a report."""
    text = report.read_text(encoding="utf-8")
    data: dict[str, Any] = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
    return data
