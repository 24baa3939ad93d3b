"""The calls of a batch API, over HTTP.

Whatever costs nothing when it happens twice is tried again for as long as an outage may last. An order is
sent once: whether one that was not answered has arrived is for its sender to find out.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import aiohttp
from yarl import URL

from batchlab.dispatch.api_error import ApiError
from batchlab.dispatch.http.access import Access
from batchlab.dispatch.http.batch_calls import GONE, BatchCalls, Call, UncertainOrder
from batchlab.dispatch.http.order_body import order_body, while_awake
from batchlab.dispatch.stop import StopSignal
from batchlab.job import LimitsJob
from batchlab.protocol.batches.dialect import BatchState, Dialect, Order, batches_in, file_id_in, has_more

PAGE = 100  # batches of a list; what all services take
MOST_PAGES = 200  # of a list; more batches than that since the last crash are somebody else's, too
MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NOT_TO_CANCEL = frozenset({400, 404, 409, 422})  # it has ended: asked again, the answer would be the same
# answers of gateways, and of services that gave up waiting for themselves
_SAYS_NOTHING = frozenset({408, 409, 425, 499})


@dataclass(frozen=True, slots=True)
class Listed:
    """Batches of an account.

    Attributes:
        is_whole: no other was ordered in that time, as far as the service shows them already.
    """

    batches: list[BatchState]
    is_whole: bool


class BatchService:
    """One endpoint's batch API. Use as an async context manager.

    Every call raises ApiError for what is refused, and Stopped once the run stops.

    Args:
        say: told of trouble that lasts, and of its end.

    Attributes:
        patience_s: for how long a call is tried again.
    """

    def __init__(
        self,
        access: Access,
        dialect: Dialect,
        *,
        limits: LimitsJob,
        stop: StopSignal,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.dialect = dialect
        self.patience_s = limits.max_outage_s
        if dialect.key_header is not None:
            access = replace(access, service=replace(access.service, key_header=dialect.key_header))
        self._calls = BatchCalls(access, dialect.headers, limits=limits, stop=stop, say=say)

    async def __aenter__(self) -> Self:
        await self._calls.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._calls.__aexit__(*error)

    async def upload(self, lines: Path) -> str:
        """Uploads a file of lines; its id."""
        assert self.dialect.files is not None, "asked of a service that takes lines with the order"
        path = self.dialect.upload or self.dialect.files

        async def once() -> str:
            with lines.open("rb") as file:
                form = aiohttp.FormData({"purpose": self.dialect.purpose, **self.dialect.form})
                form.add_field("file", file, filename=lines.name, content_type="application/jsonl")
                data = await self._calls.json(Call("POST", path, data=form))
            if (found := file_id_in(data)) is None:
                raise self._calls.odd("the upload was answered without an id")
            return found

        return await self._calls.patiently(once)

    async def order(self, asked: Order, lines: Path) -> BatchState:
        """Orders a batch, once.

        Raises:
            UncertainOrder: it may have arrived. Any other ApiError: it has not, or was refused.
        """
        size, pieces = order_body(self.dialect.order(asked), self.dialect.inline, lines)
        extra = {"Content-Type": "application/json", "Content-Length": str(size)}
        data = while_awake(pieces)
        try:
            answer = await self._calls.json(
                Call("POST", self.dialect.batches, data=data, headers=extra, once=True)
            )
            state = self.dialect.state(answer)
        except UncertainOrder:
            raise
        except ApiError as error:
            if (error.outcome.code or 0) >= 500 or error.outcome.code in _SAYS_NOTHING:
                raise UncertainOrder(error.outcome) from error
            raise
        if not state.id:
            raise UncertainOrder(self._calls.odd("the order was answered without an id").outcome)
        return state

    async def state(self, batch: str) -> BatchState:
        """How a batch stands."""
        return self.dialect.state(
            await self._calls.patiently(
                lambda: self._calls.json(Call("GET", f"{self.dialect.batches}/{batch}"))
            )
        )

    async def cancel(self, batch: str) -> None:
        """Asks the service to end a batch; one that has ended, or cannot be ended, is left as it is."""
        if not self.dialect.cancels:
            return

        async def once() -> None:
            try:
                await self._calls.json(Call("POST", f"{self.dialect.batches}/{batch}/cancel"))
            except ApiError as error:
                if error.outcome.code not in _NOT_TO_CANCEL:
                    raise

        await self._calls.patiently(once, second_looks=False)

    async def listed(self, since: float) -> Listed:
        """The batches of the account that were ordered since a Unix time."""
        found: list[BatchState] = []
        last: str | None = None
        for number in range(MOST_PAGES):
            states, more = await self._page(number, last)
            found += [one for one in states if one.created_at is None or one.created_at >= since]
            if more is False or _is_beyond(states, since):
                return Listed(found, is_whole=True)
            if self.dialect.page is None and self.dialect.numbered is None:
                return Listed(found, is_whole=more is None and len(states) < PAGE)
            if not states:
                return Listed(found, is_whole=not more)
            if states[-1].id == last:
                break  # the service does not turn the page
            last = states[-1].id
        return Listed(found, is_whole=False)

    async def _page(self, number: int, last: str | None) -> tuple[list[BatchState], bool | None]:
        """One page of the list, and whether another follows, if the reply says."""
        dialect, query = self.dialect, {"limit": str(PAGE)}
        if dialect.numbered is not None:
            query = dict(zip(dialect.numbered, (str(number), str(PAGE)), strict=True))
        elif dialect.page is not None and last is not None:
            query[dialect.page] = last

        async def once() -> tuple[list[BatchState], bool | None]:
            reply = await self._calls.value(Call("GET", dialect.batches, query=query))
            if (found := batches_in(reply)) is None:
                raise self._calls.odd("the list of batches was answered without one")
            return [dialect.state(one) for one in found], has_more(reply)

        return await self._calls.patiently(once)

    async def fetch(self, file: str, to: Path) -> None:
        """Downloads a file of results; what was there before gives way. Raises OSError of the disk too.

        It may be at another host than the service, which is not given the key.
        """

        async def once() -> None:
            place = self._place_of(file)
            for _ in range(MOST_REDIRECTS):
                async with self._calls.response(Call("GET", place)) as response:
                    if (onward := self._onward(response)) is None:
                        await self._save(response, to)
                        return
                place = onward
            raise self._calls.odd("the results are redirected without an end")

        await self._calls.patiently(once)

    def _onward(self, response: aiohttp.ClientResponse) -> URL | None:
        """Where a file is said to be, by a service that keeps its files at another; None when it is here."""
        if response.status not in _REDIRECTS or (there := response.headers.get("Location")) is None:
            return None
        try:
            onward = response.url.join(URL(there, encoded=there.isascii() and " " not in there))
            is_open = onward.scheme == response.url.scheme or onward.scheme == "https"
        except ValueError:
            onward, is_open = response.url, False
        if not is_open or onward.host is None:
            raise self._calls.odd(f"the results are said to be at a place that cannot be read: {onward.host}")
        return onward

    async def _save(self, response: aiohttp.ClientResponse, to: Path) -> None:
        if response.status != 200:
            raise self._calls.refused(response, await _beginning(response))
        with to.open("wb") as out:
            while chunk := await self._calls.piece(response):
                out.write(chunk)
            out.flush()
            # hundreds of megabytes: calls of other lanes go on meanwhile
            await asyncio.to_thread(os.fsync, out.fileno())

    async def delete(self, file: str) -> None:
        """Deletes a file of lines, in one try, where they do not stay; one that is gone is fine."""
        if self.dialect.deletion is None:
            return
        path = self.dialect.deletion.format(id=file)
        try:
            await self._calls.value(Call("DELETE", path))
        except ApiError as error:
            if error.outcome.code not in GONE:
                raise

    def _place_of(self, file: str) -> str | URL:
        """Where a file's content is: by its id, by its path, or by its address."""
        if file.startswith(("http://", "https://")):
            try:
                return URL(file)
            except ValueError:
                raise self._calls.odd("the results are said to be at an address that is none") from None
        return file if self.dialect.files is None else f"{self.dialect.files}/{file}/content"


def _is_beyond(page: list[BatchState], since: float) -> bool:
    """Whether a page, and so each after it, has batches of before; told only by one with the newest first."""
    times = [one.created_at for one in page if one.created_at is not None]
    return len(times) == len(page) > 1 and times == sorted(times, reverse=True) and times[-1] < since


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    return await response.content.read(65536)
