"""An aiohttp that is not what batchlab was written for: said, and done without."""

from __future__ import annotations

import os
from pathlib import Path

import aiohttp
import pyarrow.parquet as pq
import pytest
from aiohttp.client_proto import ResponseHandler

from batchlab.dispatch.http.aiohttp_names import lacking
from batchlab.dispatch.http.opening import connector_to
from tests.conftest import ROOT

SHIM = Path(__file__).parent / "another_aiohttp"
WORDS = "is not what batchlab was written for"


async def test_this_aiohttp_is_what_batchlab_was_written_for():
    assert await lacking() == []


class Renamed(aiohttp.TCPConnector):
    def _release(self, key: object, handler: object, **more: object) -> None: ...


class Wants(ResponseHandler):
    def set_response_params(self, *, read_until_eof: bool, protocol_version: str) -> None: ...


class Fixed(aiohttp.TCPConnector):
    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        del self._factory


@pytest.mark.parametrize(
    ("where", "name", "value", "missing"),
    [
        (aiohttp.StreamReader, "read_nowait", None, "StreamReader.read_nowait()"),
        (ResponseHandler, "should_close", None, "ResponseHandler.should_close"),
        (
            aiohttp.ClientRequest,
            "write_bytes",
            None,
            "ClientRequest.write_bytes(writer, conn, content_length)",
        ),
        (aiohttp.connector, "TCPConnector", Renamed, "TCPConnector._release(key, protocol, should_close)"),
        (
            aiohttp.client_proto,
            "ResponseHandler",
            Wants,
            "ResponseHandler.set_response_params(read_until_eof)",
        ),
        (aiohttp, "TCPConnector", Fixed, "TCPConnector._factory"),
        (aiohttp.http_exceptions, "HttpProcessingError", None, "HttpProcessingError"),
    ],
)
async def test_what_is_missing_is_named_and_no_connection_is_kept(monkeypatch, where, name, value, missing):
    if value is None:
        monkeypatch.delattr(where, name)
    else:
        monkeypatch.setattr(where, name, value)
    said: list[str] = []

    connector = await connector_to(True, said.append)

    assert connector.force_close
    assert type(connector) is aiohttp.TCPConnector
    assert len(said) == 1
    assert WORDS in said[0]
    assert missing in said[0]


@pytest.mark.proof
@pytest.mark.parametrize(
    "more", [(), ("--processes", "2"), ("--stream",)], ids=["one", "processes", "streamed"]
)
def test_a_run_goes_on_by_the_session_and_says_so_once(batchlab, simulator, rows_file, more):
    provider = simulator()
    done = batchlab(
        *("run", "-i", rows_file(40), "-m", "sim", "-p", "{text}", "--base-url", provider.base_url),
        *("--api-key-env", "SIMULATOR_KEY", "--run-dir", "run", "--progress", "plain", *more),
        PYTHONPATH=f"{ROOT}{os.pathsep}{SHIM}",
        ANOTHER_AIOHTTP="1",
    )

    assert done.code == 0, done.err
    assert done.err.count(WORDS) == 1
    assert pq.read_table(batchlab.home / "run/completions")["status"].to_pylist() == ["ok"] * 40


def test_a_run_says_nothing_of_the_aiohttp_it_knows(batchlab, simulator, rows_file):
    done = batchlab(
        *("run", "-i", rows_file(4), "-m", "sim", "-p", "{text}", "--base-url", simulator().base_url),
        *("--api-key-env", "SIMULATOR_KEY", "--run-dir", "run", "--progress", "plain"),
    )

    assert done.code == 0, done.err
    assert "aiohttp" not in done.err
