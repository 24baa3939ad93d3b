"""A store for several processes: `basics://`, whose objects are files below $SHELF.

Python imports this at its start in every process that has this folder on its path.
"""

from __future__ import annotations

import os
import secrets

import fsspec
from fsspec.implementations.local import LocalFileSystem

from batchlab.remote.urls import EXTRAS

ROOT = os.environ.get("SHELF", "/nowhere")


class Shelf(LocalFileSystem):
    protocol = "basics"
    auto_mkdir = True

    def __init__(self, **options: object) -> None:
        super().__init__(auto_mkdir=True, **options)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        path = str(path).removeprefix("basics://").rstrip("/")
        return path if path.startswith(ROOT) else f"{ROOT}/{path.lstrip('/')}"

    def find(self, path: str, **options: object) -> list[str]:
        found = super().find(path, **options)
        return [one.removeprefix(ROOT) for one in found if not one.endswith(".half")]

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: object) -> None:
        target = self._strip_protocol(path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        half = f"{target}.{secrets.token_hex(4)}.half"
        with open(half, "wb") as file:
            file.write(value)
        try:
            os.link(half, target) if mode == "create" else os.replace(half, target)
        finally:
            if os.path.exists(half):
                os.unlink(half)

    def get_file(self, path: str, local: str, **_: object) -> None:
        with open(self._strip_protocol(path), "rb") as source, open(local, "wb") as target:
            target.write(source.read())

    def put_file(self, local: str, path: str, mode: str = "overwrite", **_: object) -> None:
        with open(local, "rb") as file:
            self.pipe_file(path, file.read(), mode)


def register() -> None:
    EXTRAS["basics"] = "basics"
    fsspec.register_implementation("basics", Shelf, clobber=True)


if "SHELF" in os.environ:
    register()
