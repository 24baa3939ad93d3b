"""A block's commands stay on this machine: services answer at $GUIDE_ENDPOINT, `s3://` is a folder.

Python imports this at its start in every process that has this folder on its path, and a warm process
(`tests/warm.py`) before each command.
"""

from __future__ import annotations

import dataclasses
import os

import fsspec

from batchlab import job
from batchlab.job import endpoint, file, presets
from tests.remote.shelf.sitecustomize import Shelf


class Bucket(Shelf):
    """`s3://` as files below $SHELF."""

    protocol = "s3"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(str(path).removeprefix("s3://"))


def _stay_here(url: str) -> None:
    fsspec.register_implementation("s3", Bucket, clobber=True)
    init = endpoint.EndpointJob.__init__
    init.__defaults__ = tuple(url if one == job.DEFAULT_BASE_URL else one for one in init.__defaults__)
    for module in (job, endpoint, file):
        module.DEFAULT_BASE_URL = url
    for name, preset in list(presets.PRESETS.items()):
        owner = preset.host and "127.0.0.1"
        presets.PRESETS[name] = dataclasses.replace(preset, base_url=url, host=owner)


if "GUIDE_ENDPOINT" in os.environ:
    _stay_here(os.environ["GUIDE_ENDPOINT"])
