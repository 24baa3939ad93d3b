"""Why no answer came: aiohttp's and the socket's errors by kind, each in words that a person knows."""

from __future__ import annotations

import errno
import os
import re

import aiohttp
from yarl import URL

from batchlab.protocol.outcomes.classify import TransportFault
from batchlab.protocol.outcomes.facts import FaultKind

# Local shortages: the machine's trouble, never charged to a row.
_LOCAL_ERRNO = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL, errno.ENOMEM}
_NO_WAY = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN}
# a TLS alert or handshake record, as aiohttp's parsers show what is no status line
_TLS_RECORD = re.compile(r"\\x1[56]\\x03[\\x]|[\x15\x16]\x03[\x00-\x04]")
# where aiohttp begins to show what it could not parse: a body may be among it
_SHOWN = re.compile(r"""[\s:]*\b(?:b|bytearray\(b)['"]""")
_MOST_SAID = 200
_TO_HOST = re.compile(r"to host (\S+)")
_NUMBERS = re.compile(r"\[Errno (\d+)\]")
_OF_SSL = re.compile(r"^\[SSL[^\]]*\]\s*|\s*\(_ssl\.c:\d+\)")


def fault_of(error: Exception, *, total_timeout: bool = False) -> TransportFault:
    """What kind of transport trouble an exception of aiohttp or the socket layer is.

    Never uses `repr()`: aiohttp's shows the request's headers, and with them the key.
    """
    kind = _kind(error, total_timeout=total_timeout)
    if kind == "tls_expected":
        return TransportFault(kind, "the answer is a TLS record, no HTTP")
    if kind == "payload":
        return TransportFault(kind, _said_by(error))
    return TransportFault(kind, _told(kind, error) or str(error) or type(error).__name__)


def _kind(error: Exception, *, total_timeout: bool) -> FaultKind:
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return "tls"
    if _TLS_RECORD.search(_words_of(error)):
        return "tls_expected"
    if isinstance(error, OSError) and not _errnos(error).isdisjoint(_LOCAL_ERRNO):
        return "local"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "dns"
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "timeout_connect"
    if isinstance(error, TimeoutError):
        of_all = total_timeout and not isinstance(error, aiohttp.SocketTimeoutError)
        return "timeout_total" if of_all else "timeout_idle"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "connect"
    if isinstance(error, aiohttp.InvalidURL):
        return "invalid_url"
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ClientResponseError):
        return "payload"
    return "reset" if isinstance(error, aiohttp.ClientError | OSError) else "payload"


def _told(kind: FaultKind, error: Exception) -> str:
    """The fault in a person's words; "" where the error's own are plain enough."""
    match kind:
        case "connect":
            return _not_connected(error)
        case "dns":
            host = getattr(error, "host", None) or "the host"
            return f"no address is known for {host}: is the name right, and is this machine online?"
        case "timeout_connect":
            found = _TO_HOST.search(str(error))
            place = _place_in(found.group(1)) if found else "the server"
            return f"no connection to {place} in time: is the address right, and open to this machine?"
        case "timeout_idle":
            return "the server sent nothing for longer than idle_timeout"
        case "timeout_total":
            return "the answer took longer than timeout"
        case "tls":
            return _no_tls(error)
    return ""


def _not_connected(error: Exception) -> str:
    place, numbers = _place(error), _errnos(error)
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return f"the proxy {place} takes no connection: {_reason(error)}; is HTTP_PROXY or HTTPS_PROXY right?"
    if errno.ECONNREFUSED in numbers:
        return f"connection refused at {place}: is the server running there?"
    if not numbers.isdisjoint(_NO_WAY):
        return f"no way to {place}: {_reason(error)}; is this machine online?"
    return f"no connection to {place}: {_reason(error)}"


def _no_tls(error: Exception) -> str:
    place = _place(error)
    inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    text = str(inner)
    if isinstance(error, aiohttp.ClientConnectorCertificateError) or "CERTIFICATE_VERIFY_FAILED" in text:
        why = text.partition("certificate verify failed: ")[2] or text
        why = _OF_SSL.sub("", why)
        return f"the TLS certificate of {place} is not trusted: {why}; ca_bundle names its authority"
    if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER_FAILURE" in text:
        return f"{place} does not speak TLS: is its address http:// and not https://?"
    return f"no TLS with {place}: {_OF_SSL.sub('', text)}"


def _place(error: Exception) -> str:
    """`HOST:PORT` of an error of aiohttp's connector."""
    host, port = getattr(error, "host", None), getattr(error, "port", None)
    if host is None:
        return "the server"
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


def _place_in(url: str) -> str:
    """`HOST:PORT` of a URL, or of what stands for one."""
    try:
        return URL(url).authority.rpartition("@")[2] or url
    except ValueError:
        return url


def _reason(error: Exception) -> str:
    """What the system said, without aiohttp's frame around it."""
    inner = getattr(error, "os_error", None)
    number = next(iter(sorted(_errnos(error))), None)
    said = getattr(inner, "strerror", None)
    if number is not None and (said is None or "Connect call" in said):
        return os.strerror(number).lower()
    return (said or str(inner or error)).strip()


def _said_by(error: Exception) -> str:
    """What an error about HTTP says, in one short line and without the bytes it is about."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy refused to go on: {error.status} {error.message}".rstrip()
    said = _SHOWN.split(_words_of(error), maxsplit=1)[0]
    return " ".join(said.split())[:_MOST_SAID] or type(error).__name__


def _words_of(error: Exception) -> str:
    """Its text; the session's own about what is no HTTP has a status that nobody sent, and escapes twice."""
    if isinstance(error, aiohttp.ClientResponseError) and not isinstance(error, aiohttp.ClientHttpProxyError):
        return error.message or str(error)
    return str(error)


def _errnos(error: Exception) -> set[int]:
    """The numbers of the system's errors behind one: several where a host has several addresses."""
    inner = getattr(error, "os_error", None)
    first = inner if isinstance(inner, OSError) else error
    number = getattr(first, "errno", None)
    if number is not None:
        return {number}
    return {int(found) for found in _NUMBERS.findall(str(first))}
