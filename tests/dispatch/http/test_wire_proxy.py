"""The proxy of the environment, the netrc file and our own Authorization go together, on real sockets."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import pytest
from yarl import URL

from batchlab.dispatch.api_error import ApiError
from batchlab.dispatch.http.proxies import Proxy, proxy_for
from batchlab.job import LimitsJob
from batchlab.job.key import Secret
from tests.conftest import CANARY
from tests.dispatch.http.test_transport import GOOD, REQUEST
from tests.dispatch.http.test_wire import request_of
from tests.dispatch.http.transports import transport_at

NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "REQUEST_METHOD")
BODY = json.dumps(GOOD).encode()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(BODY),
    BODY,
)


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """No proxy but the tests' own; the netrc file knows everybody."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("tls")
    subprocess.run(
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost "
        "-addext subjectAltName=DNS:localhost".split(),
        cwd=home,
        check=True,
        capture_output=True,
    )
    return str(home / "cert.pem")


@dataclass
class Seen:
    """Heads of requests, as lines."""

    port: int = 0
    heads: list[list[str]] = field(default_factory=list)

    def values(self, name: str) -> list[str]:
        """A header's values in all of them."""
        found = [line.partition(": ") for head in self.heads for line in head[1:]]
        return [value for header, _, value in found if header.lower() == name.lower()]


@contextlib.asynccontextmanager
async def listening(serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[Seen]:
    seen, tasks = Seen(), set()

    async def handled(reader, writer) -> None:
        tasks.add(asyncio.current_task())
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await serve(seen, reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    server = await asyncio.start_server(handled, "localhost", 0, ssl=tls)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        server.close()
        if tasks:
            await asyncio.wait(tasks, timeout=5)


async def provider(seen: Seen, reader, writer) -> None:
    while True:
        head, _ = await request_of(reader)
        seen.heads.append(head)
        writer.write(ANSWER)


async def proxy(seen: Seen, reader, writer) -> None:
    """Tunnels, and answers itself what it is asked in full."""
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
        seen.heads.append(head)
        method, target, _ = head[0].split()
        if method == "CONNECT":
            host, _, port = target.rpartition(":")
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(pumped(reader, far_writer), pumped(far_reader, writer))
            return
        length = next(int(line.split(":")[1]) for line in head if line.lower().startswith("content-length"))
        await reader.readexactly(length)
        writer.write(ANSWER)


async def pumped(reader, writer) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
    writer.close()


async def refusing(seen: Seen, reader, writer) -> None:
    seen.heads.append((await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2])
    writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")


async def asked(url: str, times: int = 2, **options) -> list[str]:
    """Answers of a provider that is asked `times`; what was said beside."""
    said: list[str] = []
    async with transport_at(
        url, key=Secret(CANARY), limits=LimitsJob(), trust_env=True, say=said.append, **options
    ) as sender:
        for _ in range(times):
            assert (await sender.send(REQUEST)).reply.completion == "hi"
    return said


def basic(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode()).decode()


@pytest.mark.parametrize("trust_env", [True, False])
async def test_a_netrc_entry_for_the_endpoint_changes_nothing(trust_env):
    async with listening(provider) as far:
        url = f"http://localhost:{far.port}/v1"
        async with transport_at(url, key=Secret(CANARY), limits=LimitsJob(), trust_env=trust_env) as sender:
            await sender.send(REQUEST)

    assert far.values("Authorization") == [f"Bearer {CANARY}"]


async def test_an_endpoint_without_a_key_gets_none_from_the_netrc_file():
    async with listening(provider) as far:
        url = f"http://localhost:{far.port}/v1"
        async with transport_at(url, key=None, limits=LimitsJob(), trust_env=True) as sender:
            await sender.send(REQUEST)

    assert far.values("Authorization") == []


@pytest.mark.parametrize(
    ("login", "sent"),
    [("u%40s:p%3Aw@", "u@s:p:w"), ("", "somebody:else")],
    ids=["in the url", "of the netrc file"],
)
async def test_a_plain_endpoint_is_asked_through_the_proxy(monkeypatch, login, sent):
    async with listening(proxy) as near:
        monkeypatch.setenv("HTTP_PROXY", f"http://{login}localhost:{near.port}")
        await asked("http://provider.example/v1")

    assert [head[0] for head in near.heads] == [
        "POST http://provider.example/v1/chat/completions HTTP/1.1"
    ] * 2
    assert near.values("Proxy-Authorization") == [basic(sent)] * 2
    assert near.values("Authorization") == [f"Bearer {CANARY}"] * 2


@pytest.mark.parametrize(
    ("login", "sent"),
    [("u%40s:p%3Aw@", "u@s:p:w"), ("", "somebody:else")],
    ids=["in the url", "of the netrc file"],
)
async def test_a_tls_endpoint_is_asked_through_a_tunnel(monkeypatch, certificate, login, sent):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, certificate.replace("cert.pem", "key.pem"))
    async with listening(provider, tls) as far, listening(proxy) as near:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{login}localhost:{near.port}")
        await asked(f"https://localhost:{far.port}/v1", ca_bundle=certificate)

    assert [head[0] for head in near.heads] == [f"CONNECT localhost:{far.port} HTTP/1.1"]  # and it was kept
    assert near.values("Proxy-Authorization") == [basic(sent)]
    assert near.values("Authorization") == []
    assert far.values("Authorization") == [f"Bearer {CANARY}"] * 2
    assert far.values("Proxy-Authorization") == []


@pytest.mark.parametrize("bypass", ["localhost", ".localhost", "other.example,localhost", "*"])
async def test_no_proxy_is_the_straight_way(monkeypatch, bypass):
    async with listening(provider) as far:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("NO_PROXY", bypass)
        await asked(f"http://localhost:{far.port}/v1")

    assert far.values("Authorization") == [f"Bearer {CANARY}"] * 2


async def test_a_proxy_that_refuses_shows_no_password(monkeypatch):
    async with listening(refusing) as near:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:hush@localhost:{near.port}")
        with pytest.raises(ApiError) as caught:
            await asked("https://provider.example/v1")

    assert near.values("Proxy-Authorization") == [basic("user:hush")]
    outcome = caught.value.outcome
    assert "407" in outcome.message or outcome.code == 407
    assert "hush" not in repr(outcome)


async def test_a_second_answer_through_a_proxy_answers_nobody(monkeypatch):
    async def twice(seen: Seen, reader, writer) -> None:
        while True:
            head, _ = await request_of(reader)
            seen.heads.append(head)
            writer.write(ANSWER)
            await asyncio.sleep(0.02)
            writer.write(ANSWER.replace(b"hi", b"no"))

    async with listening(twice) as near:
        monkeypatch.setenv("HTTP_PROXY", f"http://localhost:{near.port}")
        async with transport_at(
            "http://provider.example/v1", key=Secret(CANARY), limits=LimitsJob(), trust_env=True
        ) as sender:
            for _ in range(3):
                assert (await sender.send(REQUEST)).reply.completion == "hi"
                await asyncio.sleep(0.05)

    assert len(near.heads) == 3


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("https://u:p@proxy.example:8080", "https://proxy.example:8080"),
        ("socks5://proxy.example", "socks5"),
        ("http://[", "no URL"),
    ],
)
async def test_a_proxy_that_cannot_be_used_is_said(monkeypatch, named, told):
    monkeypatch.setenv("HTTP_PROXY", named)
    async with listening(provider) as far:
        said = await asked(f"http://localhost:{far.port}/v1")

    assert len(said) == 1
    assert told in said[0]
    assert "u:p" not in said[0]


@pytest.mark.parametrize(
    ("named", "url"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128"),
        ("proxy.example:3128", "http://proxy.example:3128"),
        ("http://proxy.example/", "http://proxy.example"),
        ("", None),
    ],
)
def test_a_proxy_is_named_as_curl_takes_it(monkeypatch, named, url):
    monkeypatch.setenv("HTTPS_PROXY", named)

    assert proxy_for(URL("https://provider.example/v1")) == (Proxy(URL(url)) if url else None)
    assert proxy_for(URL("http://provider.example/v1")) is None
