"""A row's request to be run by hand: as curl in a POSIX shell, and as Python that needs no package.

What a row holds is quoted so that it stays data, also in a terminal that it is pasted into: the body is
JSON in ASCII. A key is only ever named by its variable, and a well-known one never for another host: a run
may come from somebody else. Answers come whole, also where the run had them streamed.
"""

from __future__ import annotations

import json
import pprint
import shlex
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import orjson

from batchlab.inputs.spelling import spelt
from batchlab.job import SELF_STARTED, TASK_PATHS, EndpointJob, Job
from batchlab.job.endpoint import is_this_machine, variable_name
from batchlab.job.headers import FROM_ENV, split
from batchlab.job.key import is_of_others, key_source
from batchlab.records import ChatRequest

MOST_BYTES = 4 << 20  # of a body; one with larger images is not copied
ADDRESS = "BATCHLAB_BASE_URL"  # where an endpoint is that batchlab had started
OTHER_KEY = "API_KEY"  # where the key is to be put that is in a file or a keyring
_WIDTH = 100


@dataclass(frozen=True, slots=True)
class Copy:
    """One request, to be spelt for a shell or for Python.

    Attributes:
        url: None where batchlab had started the endpoint: its address was another each time.
        headers: name, text, and the variable whose value follows the text, "" for none.
        body: as JSON has it.
        notes: what to know before it is run, a line each.
    """

    url: str | None
    path: str
    headers: tuple[tuple[str, str, str], ...]
    body: Any
    notes: tuple[str, ...] = ()
    ca_bundle: str | None = None
    is_insecure: bool = False

    def curl(self) -> str:
        """For bash, zsh, dash and the like."""
        address = shlex.quote(self.url) if self.url is not None else f'"${ADDRESS}/{self.path}"'
        lines = [f"curl -sS --globoff {address}"]
        lines += [
            f"  -H {shlex.quote(f'{name}: {text}')}" + (f'"${variable}"' if variable else "")
            for name, text, variable in self.headers
        ]
        if self.ca_bundle:
            lines.append(f"  --cacert {shlex.quote(self.ca_bundle)}")
        if self.is_insecure:
            lines.append("  --insecure")
        lines.append("  --data-binary @- <<'JSON'")
        # no line of indented JSON is the word that ends it; an interactive shell may expand "!"
        body = json.dumps(self.body, indent=1).replace("!", "\\u0021")
        return "\n".join([*(f"# {note}" for note in self.notes), " \\\n".join(lines), body, "JSON", ""])

    def python(self) -> str:
        """For Python 3, with its standard library alone."""
        address = repr(self.url) if self.url is not None else f"os.environ[{ADDRESS!r}] + {'/' + self.path!r}"
        headers = ",\n    ".join(
            f"{name!r}: {text!r}" + (f" + os.environ[{variable!r}]" if variable else "")
            for name, text, variable in self.headers
        )
        trust = ", context=context" if self.ca_bundle or self.is_insecure else ""
        lines = [
            *(f"# {note}" for note in self.notes),
            "import json",
            "import os",
            *(["import ssl"] if trust else []),
            "import urllib.request",
            "",
            f"url = {address}",
            f"headers = {{\n    {headers},\n}}",
            f"body = {pprint.pformat(self.body, width=_WIDTH, sort_dicts=False)}",
        ]
        if trust:
            cafile = f"cafile={self.ca_bundle!r}" if self.ca_bundle else ""
            lines.append(f"context = ssl.create_default_context({cafile})")
            if self.is_insecure:
                lines += ["context.check_hostname = False", "context.verify_mode = ssl.CERT_NONE"]
        lines += [
            "request = urllib.request.Request(url, json.dumps(body).encode(), headers)",
            f"with urllib.request.urlopen(request{trust}) as response:",
            "    print(json.dumps(json.load(response), indent=2, ensure_ascii=False))",
            "",
        ]
        return "\n".join(lines)


def copy_of(job: Job, request: ChatRequest, *, answered_by: str | None, lane: str | None) -> Copy | None:
    """A row's request as it went to the endpoint that answered, or would go to; None when it is too large.

    Args:
        answered_by: that endpoint's name; None where nobody has answered.
        lane: by which it was answered.
    """
    endpoint = _endpoint(job, request.endpoint or answered_by)
    tier = endpoint.flex_tier if lane == "flex" else None
    model = (job.request.model, endpoint.model) if endpoint.model is not None else None
    written = orjson.dumps(
        spelt(request, endpoint.service, model=model, tier=tier), option=orjson.OPT_NON_STR_KEYS
    )
    if len(written) > MOST_BYTES:
        return None
    url, notes = _url(endpoint, TASK_PATHS[request.task])
    headers, said = _headers(endpoint)
    return Copy(
        url=url,
        path=TASK_PATHS[request.task],
        headers=(("Content-Type", "application/json", ""), *headers),
        body=json.loads(written),
        notes=(*notes, *said),
        ca_bundle=endpoint.ca_bundle,
        is_insecure=endpoint.insecure,
    )


def _endpoint(job: Job, name: str | None) -> EndpointJob:
    named = {one.name or one.host: one for one in job.endpoint}
    return named.get(name or "", job.endpoint[0])


def _url(endpoint: EndpointJob, path: str) -> tuple[str | None, list[str]]:
    """Where the request goes, without a user and a password; and what to know of it."""
    if endpoint.host in SELF_STARTED:
        start = "batchlab simulate" if endpoint.host == "simulator" else "a server of the model"
        return None, [f"set {ADDRESS} to the address of {start}"]
    url = urlsplit(endpoint.base_url)
    if url.scheme not in {"http", "https"} or not url.hostname:
        return None, [f"set {ADDRESS} to the endpoint's address"]
    host = url.netloc.rpartition("@")[2]
    return urlunsplit((url.scheme, host, f"{url.path.rstrip('/')}/{path}", url.query, "")), []


def _headers(endpoint: EndpointJob) -> tuple[list[tuple[str, str, str]], list[str]]:
    """The key and the user's own headers, secrets by their variables; and what to know of them."""
    url = urlsplit(endpoint.base_url)
    hostname = url.hostname or ""
    is_open = url.scheme == "http" and not is_this_machine(hostname) and not endpoint.allow_http
    found: dict[str, tuple[str, str, str]] = {}
    notes: list[str] = []

    def named(variable: str) -> bool:
        """Whether a variable may go to the host; says why not."""
        if is_of_others(variable, hostname):
            notes.append(f"{variable} is the key of another service, and is left out")
        elif is_open:
            notes.append(f"{variable} would travel unencrypted, and is left out")
        else:
            return True
        return False

    if endpoint.host == "simulator":
        found["authorization"] = ("Authorization", "Bearer simulator", "")
    elif endpoint.host not in SELF_STARTED and (source := key_source(endpoint)):
        variable = source
        if endpoint.api_key_file or endpoint.api_key_keyring or not _is_variable(source):
            variable = OTHER_KEY
            notes.append(f"set {OTHER_KEY} to the key")
        is_optional = endpoint.service.free and not endpoint.api_key_env
        if not is_optional and named(variable):
            header = endpoint.service.key_header
            found[header.lower()] = (header, "Bearer " if header == "Authorization" else "", variable)
    for line in endpoint.headers:
        name, written = split(line)
        env = FROM_ENV.fullmatch(written)
        if env is None:
            found[name.lower()] = (name, written, "")
        elif named(env[2]):
            found[name.lower()] = (name, f"{env[1]} " if env[1] else "", env[2])
    return [one for one in found.values() if "\n" not in one[0] + one[1]], notes


def _is_variable(name: str) -> bool:
    try:
        variable_name(name)
    except ValueError:
        return False
    return True
