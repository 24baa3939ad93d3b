"""Who gets an answer: this machine's browser at the page's own address, and nobody else."""

from __future__ import annotations

import socket

import pytest

from batchlab.page.access import LARGEST_BODY, LONGEST_TARGET, Asked, Door, is_loopback
from tests.page.conftest import TOKEN

READS = ("/", "/api/runs", "/api/run?run=night", "/api/rows?run=night", "/api/run/events?run=night")
ACT = {"run": "night", "name": "retry", "command": "x"}


@pytest.fixture
def page(served, runs):
    return served(runs)


@pytest.mark.parametrize("target", READS)
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",  # its name was made to lead to 127.0.0.1
        "evil.example:{port}",
        "127.0.0.1.evil.example:{port}",
        "localhost.evil.example:{port}",
        "localhost.:{port}",
        "[::1].evil.example:{port}",
        "0.0.0.0:{port}",
        "127.1:{port}",
        "2130706433:{port}",
        "",
        "127.0.0.1@evil.example:{port}",
        "127.0.0.1:{port}:80",
    ],
)
def test_a_name_that_is_not_the_page_s_is_refused(page, target, host):
    got = page.ask(target, Host=host.format(port=page.port))

    assert got.status in (400, 403)
    assert b"night" not in got.body


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:9000", "[::1]:80", "127.0.0.1:{port}"])
def test_its_own_names_will_do_at_any_port(page, host):
    """Through a tunnel the port is another."""
    assert page.ask("/api/runs", Host=host.format(port=page.port)).status == 200


def test_a_request_with_two_hosts_or_none_is_refused(page):
    for head in (
        f"Host: {page.host}\r\nHost: evil.example",
        f"Host: evil.example\r\nHost: {page.host}",
        "X: y",
    ):
        with socket.create_connection(("127.0.0.1", page.port), timeout=10) as line:
            line.sendall(f"GET /api/runs HTTP/1.1\r\n{head}\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: line.recv(65_536), b""))
        assert answer.split()[1] in (b"400", b"403"), answer
        assert b"night" not in answer


def test_an_absolute_target_does_not_stand_for_the_host(page):
    assert page.ask("http://evil.example/api/runs", Host=page.host).status in (200, 400, 403, 404)
    got = page.ask(f"http://{page.host}/api/runs", Host="evil.example")
    assert (got.status, b"night" in got.body) == (403, False)


@pytest.mark.parametrize("target", READS)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},  # another server of this machine
        {"Origin": "http://localhost:{port}"},  # another name, though of this very page
        {"Origin": "https://{host}"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},  # another port of this machine
        {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "script"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"},
    ],
)
def test_another_page_gets_nothing(page, target, headers):
    sent = {name: value.format(port=page.port, host=page.host) for name, value in headers.items()}
    got = page.ask(target, **sent)

    assert got.status == 403
    assert b"night" not in got.body
    assert "access-control-allow-origin" not in got.headers


def test_a_link_to_the_page_may_be_followed_and_its_own_requests_are_answered(page):
    visit = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert page.ask("/", **visit).status == 200
    assert page.ask("/api/runs", **visit).status == 403
    assert page.ask("/api/runs", Sec_Fetch_Site="same-origin").status == 200
    assert page.ask("/api/runs", Sec_Fetch_Site="none", Sec_Fetch_Mode="navigate").status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X_Batchlab_Token": None}, 403),
        ({"X_Batchlab_Token": "another"}, 403),
        ({"X_Batchlab_Token": TOKEN[:-1]}, 403),
        ({"X_Batchlab_Token": "", "Cookie": f"batchlab={TOKEN}"}, 403),
        ({"Origin": None}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content_Type": None}, 415),
    ],
)
def test_who_changes_something_is_the_page_itself_and_has_the_token(page, headers, status):
    got = page.send("act", ACT, **headers)

    assert got.status == status
    assert got.error


def test_a_write_of_the_page_itself_is_heard(page):
    assert page.send("act", ACT).status == 409  # it is not what would be done now


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"])
def test_other_methods_are_refused_and_no_other_origin_is_let_in(page, method):
    got = page.ask("/api/runs", method, Origin=None)

    assert got.status in (400, 403, 405)
    assert not any(name.startswith("access-control") for name in got.headers)


@pytest.mark.parametrize("target", [*READS[:-1], "/nothing", "/api/nothing", "/api/run?run=none", "/api/run"])
def test_every_answer_has_the_headers_that_a_browser_keeps_to(page, target):
    got = page.ask(target)

    csp = got.headers["content-security-policy"]
    assert csp.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in csp
    assert "frame-ancestors 'none'" in csp
    assert "form-action 'none'" in csp
    assert "base-uri 'none'" in csp
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["x-frame-options"] == "DENY"
    assert got.headers["referrer-policy"] == "no-referrer"
    assert got.headers["cross-origin-resource-policy"] == "same-origin"
    assert got.headers["cache-control"] == "no-store"
    assert got.headers["server"] == "batchlab"
    assert "charset=utf-8" in got.headers["content-type"]


@pytest.mark.parametrize(
    "target",
    [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fpyproject.toml",
        "/front/../access.py",
        "/access.py",
        "/__init__.py",
        "/.",
        "//etc/passwd",
        "/page.css%00.py",
        "/index.html/",
        "/api/../page.css",
    ],
)
def test_only_the_front_s_own_files_are_served(page, target):
    got = page.ask(target)

    assert got.status in (400, 404)
    assert b"root:" not in got.body
    assert b"import" not in got.body


def test_what_is_too_large_is_refused_and_the_page_goes_on(page, caplog):
    assert page.ask(f"/api/rows?run=night&q={'x' * LONGEST_TARGET}").status in (400, 414)
    assert page.send("act", {**ACT, "command": "x" * (LARGEST_BODY + 1)}).status == 413
    for target, headers in (
        (f"/api/rows?run=night&q={'x' * 4_000_000}", {}),
        ("/", {"X_Long": "x" * 100_000}),
    ):
        try:
            assert page.ask(target, **headers).status in (400, 414)
        except ConnectionError:
            continue  # refused before all of it was sent
    for body in (
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff\xfe",
        b"[" * 5_000,
        b'{"run":' + b"9" * 5_000 + b"}",
    ):
        assert page.send("act", body).status in (400, 404, 409), body[:20]
    assert page.ask("/api/runs").status == 200
    assert caplog.records == []  # nothing of it comes up in the terminal


def test_half_a_request_keeps_nobody_else_waiting(page):
    with socket.create_connection(("127.0.0.1", page.port), timeout=10) as line:
        line.sendall(b"POST /api/act HTTP/1.1\r\nContent-Length: 1000\r\nHost: ")
        assert page.ask("/api/runs").status == 200


def test_with_a_host_reading_needs_the_token_too(served, runs):
    page = served(runs, host="127.0.0.1")
    cookie = f"batchlab_{page.port}={TOKEN}"

    for target in READS:
        assert page.ask(target).status == 401
        assert b"night" not in page.ask(target).body
    assert page.ask("/?token=another").status == 401
    assert page.ask(f"/?token={TOKEN}", Host="evil.example").status == 403
    assert page.ask(f"/api/runs?token={TOKEN}").status == 401  # only the address that was printed

    seen = page.ask(f"/?token={TOKEN}")
    assert (seen.status, seen.headers["location"]) == (303, "/")
    kept = seen.headers["set-cookie"]
    assert kept.startswith(cookie)
    assert "HttpOnly" in kept
    assert "SameSite=Strict" in kept
    assert page.ask("/api/runs", Cookie=cookie).status == 200
    assert page.ask("/api/runs", Cookie=f"{cookie}x").status == 401
    assert page.ask("/api/runs", Cookie="=;;\x01").status in (400, 401)
    others = 'theirs={"a": 1, "b": [2]}; odd; x="y'  # of another port: a browser sends them here, too
    assert page.ask("/api/runs", Cookie=f"{others}; {cookie}").status == 200
    assert page.ask("/api/runs", Cookie=f"{others}; not_{cookie}").status == 401
    assert page.ask("/api/runs", X_Batchlab_Token=TOKEN).status == 200
    assert page.send("act", ACT, Cookie=cookie, X_Batchlab_Token=None).status == 403


def test_a_page_for_others_answers_to_its_name_and_to_the_address_they_came_to():
    door = Door(TOKEN, host="0.0.0.0")

    def status(host: str, reached: str = "192.0.2.7") -> int | None:
        refused = door.refusal(Asked("GET", "/", [host], {"X-Batchlab-Token": TOKEN}, reached))
        return None if refused is None else refused.status

    assert status("192.0.2.7:8420") is None
    assert status(f"{socket.gethostname()}:8420") is None
    assert status("[2001:db8::7]:8420", "2001:db8::7") is None
    assert status("192.0.2.8:8420") == 403
    assert status("evil.example:8420") == 403


def test_loopback_is_known_by_any_of_its_names():
    assert all(map(is_loopback, ("127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost", "LOCALHOST")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.0.2.1", "evil.example", "", "127.1.evil")))


def test_the_token_is_in_the_printed_address_and_in_no_answer(page):
    assert f"#token={TOKEN}&" in page.address
    for target in READS[:-1]:
        assert TOKEN not in page.ask(target).body.decode()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET /?token=SECRET\x00 \r\n\r\n",
    ],
    ids=["no path", "TLS", "no HTTP"],
)
def test_what_is_no_http_leaves_nothing_on_the_terminal(served, runs, capfd, caplog, sent):
    page = served(runs)

    with socket.create_connection(("127.0.0.1", page.port), timeout=10) as line:
        line.sendall(sent)
        line.shutdown(socket.SHUT_WR)
        while line.recv(4_096):
            pass

    assert page.ask("/").status == 200
    assert capfd.readouterr().err == ""
    assert caplog.text == ""
