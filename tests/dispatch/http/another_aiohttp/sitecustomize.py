"""An aiohttp without a name that the pooled wire uses: Python imports this at the start of every process
that has this folder on its path."""

from __future__ import annotations

import os

if os.environ.get("ANOTHER_AIOHTTP"):
    import aiohttp

    del aiohttp.StreamReader.read_nowait
