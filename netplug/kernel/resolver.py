"""The daemon's side of the embedded DNS: it remembers, enters sandboxes, and keeps a resolver up.

    names = Resolver(domain="pynet")
    await names.open()
    names.serve(client)

The resolver is a process of its own (`netplug.dns`) without rights; all that needs them is here.
If it dies, a new one is told everything again, and gets new sockets on the same ports.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from netplug.contract.names import (
    DEFAULT_DOMAIN,
    Change,
    ClientCounters,
    LoggedQuery,
    NameAnswer,
    NameClient,
    NameProblem,
)
from netplug.errors import DeadlineExceeded, InvalidRequest, NotFound
from netplug.kernel import dnswords
from netplug.kernel.dnsbook import Book
from netplug.kernel.dnsclients import Clients, PlacesLike
from netplug.kernel.dnsplaces import Places
from netplug.kernel.worker import PAUSE_S, Packet, Packets, Start, Worker, starter
from netplug.model import NetworkId

_MODULE = "netplug.dns"
_LIBRARY = "dns"  # dnspython
_WHAT = "the DNS resolver"
_ANSWER_S = 3.0  # an answer takes 1 ms, when all names are being told some 100
_CHECK_S = 20.0  # a process that did not answer for so long does not work
_RECENT = 1000  # questions, as many as the resolver keeps itself
_UNREAD = 10_000  # questions that a slow reader may be behind; older ones are left out

log = logging.getLogger(__name__)


class Resolver:
    """Implements `netplug.contract.names.Names`. Its callers wait for nothing but answers."""

    def __init__(
        self,
        *,
        domain: str = DEFAULT_DOMAIN,
        rate: int | None = None,
        start: Start | None = None,
        places: PlacesLike | None = None,
        pause_s: tuple[float, float] = PAUSE_S,
        check_s: float = _CHECK_S,
    ) -> None:
        self._settings = {"domain": domain} | ({} if rate is None else {"rate": rate})
        self._book = Book()
        self._worker = Worker(_WHAT, start or starter(_MODULE, _LIBRARY), self, pause_s=pause_s)
        self._clients = Clients(places or Places(), self._say)
        self._numbers = 0
        self._questions: dict[int, _Question] = {}
        self._followers: list[_Follower] = []
        self._recent: deque[LoggedQuery] = deque(maxlen=_RECENT)
        self._check_s = check_s
        self._check: asyncio.TimerHandle | None = None
        self._is_unanswered = False

    async def open(self) -> None:
        """Start the process; what is said meanwhile is said to it when it is ready."""
        self._worker.start()
        self._clients.open()
        self._check_later()

    async def close(self, *, is_stop: bool) -> None:
        """End the process. With `is_stop` sandboxes are given back to Docker's resolver first."""
        if self._check is not None:
            self._check.cancel()
        await self._clients.close(is_stop=is_stop)
        await self._worker.close()
        for follower in self._followers:
            follower.close()

    def change(self, change: Change) -> None:
        """Have a change made, after all earlier ones."""
        self._book.note(change)
        self._say(partial(_changes, change))

    def serve(self, client: NameClient) -> None:
        """Answer a client, as soon as its namespace is there."""
        self._clients.serve(client)

    def forget(self, client_id: str) -> None:
        """Answer a client no more."""
        self._clients.forget(client_id)

    async def statistics(self) -> Mapping[str, ClientCounters]:
        """Return the counters of every client.

        Raises:
            DeadlineExceeded: the process does not answer.
        """
        found: dict[str, ClientCounters] = {}
        for part in await self._ask("statistics", {}):
            found.update(dnswords.counters(part["clients"]))
        return found

    async def lookup(self, asker: str | Sequence[NetworkId], name: str, kind: str) -> NameAnswer:
        """Answer as a client would be answered, or one with just these networks.

        Raises:
            NotFound: there is no such client.
            InvalidRequest: the name or the kind cannot be asked for.
            DeadlineExceeded: the process does not answer.
        """
        who = {"client": asker} if isinstance(asker, str) else {"networks": list(asker)}
        (reply,) = await self._ask("lookup", {**who, "name": name, "kind": kind})
        if "answer" in reply:
            return dnswords.answer(reply["answer"])
        if reply.get("is_unknown_client"):
            raise NotFound("client of the DNS", str(asker))
        raise InvalidRequest([str(reply.get("error"))])

    async def follow(self) -> AsyncIterator[LoggedQuery]:
        """Yield the latest questions, then those to come; some are left out in a flood."""
        follower = _Follower(self._recent)
        self._followers.append(follower)
        if len(self._followers) == 1:
            self._tell({"follow": True})
        try:
            while (query := await follower.next()) is not None:
                yield query
        finally:
            self._followers.remove(follower)
            if not self._followers:
                self._recent.clear()
                self._tell({"follow": False})

    def problems(self) -> tuple[NameProblem, ...]:
        """Return who is not served, and why."""
        found = self._clients.problems()
        if self._worker.is_ready:
            return found
        return (NameProblem(client_id="", label="", reason=f"{_WHAT} is not running"), *found)

    def begin(self) -> None:
        """Tell a new process everything."""
        self._is_unanswered = False
        self._tell({"settings": self._settings})
        self._say(partial(_changes, self._book.all()))
        self._clients.begin()
        if self._followers:
            self._recent.clear()
            self._tell({"follow": True})

    def hear(self, message: Mapping[str, Any]) -> None:
        """Do what the process needs, and hand its answers on."""
        try:
            self._hear(message)
        except (KeyError, TypeError, ValueError) as error:
            log.warning("%s says what is not understood", _WHAT, extra={"reason": repr(error)})

    def end(self) -> None:
        """Note that the process is dead."""
        self._clients.end()
        for question in self._questions.values():
            question.fail()

    def _hear(self, message: Mapping[str, Any]) -> None:
        match message:
            case {"need": "forwarder"}:
                self._clients.need(message["client"], message["transport"], message["number"])
            case {"log": queries}:
                self._log([dnswords.logged(query) for query in queries])
            case {"warning": text}:
                log.warning("%s warns", _WHAT, extra={"reason": text})
            case {"forgotten": client_id}:
                self._clients.forgotten(client_id)
            case {"synced": 0}:
                self._is_unanswered = False
            case {"statistics": number} | {"lookup": number}:
                if question := self._questions.get(number):
                    question.hear(message)
            case _:
                log.debug("%s says", _WHAT, extra={"words": list(message)})

    def _log(self, queries: Sequence[LoggedQuery]) -> None:
        self._recent.extend(queries)
        for follower in self._followers:
            follower.hear(queries)

    async def _ask(self, what: str, words: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Return what the process answers, in as many parts as it comes."""
        self._numbers = number = self._numbers + 1
        question = self._questions[number] = _Question()
        try:
            if not self._tell({what: number, **words}):
                question.fail()
            async with asyncio.timeout(_ANSWER_S):
                return await question.answer
        except TimeoutError as error:
            raise DeadlineExceeded(_WHAT, _ANSWER_S) from error
        finally:
            del self._questions[number]

    def _tell(self, message: Mapping[str, Any]) -> bool:
        text = dnswords.text_of(message)
        return self._say(lambda: [Packet(text=text)])

    def _say(self, packets: Packets) -> bool:
        """Have something said; return whether a process listens."""
        self._worker.say(packets)
        return self._worker.is_ready

    def _check_later(self) -> None:
        self._check = asyncio.get_running_loop().call_later(self._check_s, self._check_now)

    def _check_now(self) -> None:
        """End a process that hangs: its sandboxes have fallen back to Docker's resolver."""
        if self._worker.is_ready and self._is_unanswered:
            log.warning("%s does not answer, ending it", _WHAT)
            self._worker.kill()
            self._is_unanswered = False
        else:
            self._is_unanswered = self._tell({"sync": 0})
        self._check_later()


class _Question:
    """A question to the process, and the parts of its answer."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[list[Mapping[str, Any]]] = (
            asyncio.get_running_loop().create_future()
        )
        self._parts: list[Mapping[str, Any]] = []

    def hear(self, message: Mapping[str, Any]) -> None:
        """Take a part; that of a lookup is the only one."""
        self._parts.append(message)
        if message.get("is_last", "lookup" in message) and not self.answer.done():
            self.answer.set_result(self._parts)

    def fail(self) -> None:
        """Note that no answer will come."""
        if not self.answer.done():
            self.answer.set_exception(TimeoutError())


class _Follower:
    """One reader of the log."""

    def __init__(self, recent: Sequence[LoggedQuery]) -> None:
        self._unread: deque[LoggedQuery] = deque(recent, maxlen=_UNREAD)
        self._has_more = asyncio.Event()
        self._is_over = False

    def hear(self, queries: Sequence[LoggedQuery]) -> None:
        """Take questions; the oldest unread ones are left out if they are too many."""
        self._unread.extend(queries)
        self._has_more.set()

    def close(self) -> None:
        """End it when all is read."""
        self._is_over = True
        self._has_more.set()

    async def next(self) -> LoggedQuery | None:
        """Return the next question; None at the end."""
        while not self._unread:
            if self._is_over:
                return None
            self._has_more.clear()
            await self._has_more.wait()
        return self._unread.popleft()


def _changes(change: Change) -> Iterator[Packet]:
    for text in dnswords.changes(change):
        yield Packet(text=text)
