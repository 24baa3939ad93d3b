"""Why no answer came, in words that a person knows, and without aiohttp's own."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from types import SimpleNamespace

import aiohttp
import pytest

from batchlab.dispatch.http.faults import fault_of


def at(host: str = "api.example.com", port: int = 443) -> SimpleNamespace:
    return SimpleNamespace(host=host, port=port, ssl=True, is_ssl=True)


def os_error(number: int) -> OSError:
    return OSError(number, f"Connect call failed ('10.0.0.1', {number})")


def not_trusted() -> ssl.SSLCertVerificationError:
    text = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (_ssl.c:1006)"
    return ssl.SSLCertVerificationError(1, text)


TOLD = [
    (
        aiohttp.ClientConnectorError(at("127.0.0.1", 9), os_error(errno.ECONNREFUSED)),
        "connect",
        "connection refused at 127.0.0.1:9: is the server running there?",
    ),
    (
        aiohttp.ClientConnectorError(at("::1", 9), os_error(errno.ECONNREFUSED)),
        "connect",
        "connection refused at [::1]:9: is the server running there?",
    ),
    (  # a name with several addresses, each refused in its way
        aiohttp.ClientConnectorError(
            at("localhost", 9), OSError("Multiple exceptions: [Errno 111] x, [Errno 111] y")
        ),
        "connect",
        "connection refused at localhost:9: is the server running there?",
    ),
    (
        aiohttp.ClientConnectorError(at(), os_error(errno.ENETUNREACH)),
        "connect",
        "no way to api.example.com:443: network is unreachable; is this machine online?",
    ),
    (
        aiohttp.ClientConnectorError(at(), os_error(errno.EACCES)),
        "connect",
        "no connection to api.example.com:443: permission denied",
    ),
    (
        aiohttp.ClientProxyConnectionError(at("proxy", 3128), os_error(errno.ECONNREFUSED)),
        "connect",
        "the proxy proxy:3128 takes no connection: connection refused; is HTTP_PROXY or HTTPS_PROXY right?",
    ),
    (
        aiohttp.ClientConnectorDNSError(at("nosuch.example"), socket.gaierror(-2, "Name or service not known")),
        "dns",
        "no address is known for nosuch.example: is the name right, and is this machine online?",
    ),
    (
        aiohttp.ConnectionTimeoutError("Connection timeout to host http://10.1.2.3:8000/v1/chat/completions"),
        "timeout_connect",
        "no connection to 10.1.2.3:8000 in time: is the address right, and open to this machine?",
    ),
    (
        aiohttp.ConnectionTimeoutError("Connection timeout to host api.example.com"),
        "timeout_connect",
        "no connection to api.example.com in time: is the address right, and open to this machine?",
    ),
    (
        aiohttp.SocketTimeoutError("Timeout on reading data from socket"),
        "timeout_idle",
        "the server sent nothing for longer than idle_timeout",
    ),
    (
        aiohttp.ClientConnectorCertificateError(at("a.example"), not_trusted()),
        "tls",
        "the TLS certificate of a.example:443 is not trusted: self-signed certificate; ca_bundle names its authority",
    ),
    (
        aiohttp.ClientConnectorSSLError(
            at("127.0.0.1", 8000), ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1)")
        ),
        "tls",
        "127.0.0.1:8000 does not speak TLS: is its address http:// and not https://?",
    ),
]  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="the system has other words there")
@pytest.mark.parametrize(("error", "kind", "said"), TOLD, ids=[said[:40] for _, _, said in TOLD])
def test_a_connection_that_failed_is_told_in_a_person_s_words(error, kind, said):
    fault = fault_of(error)

    assert (fault.kind, fault.message) == (kind, said)
    assert "ssl:default" not in fault.message
    assert "Errno" not in fault.message


def test_an_answer_that_took_too_long_names_the_setting():
    assert fault_of(TimeoutError(), total_timeout=True).message == "the answer took longer than timeout"
