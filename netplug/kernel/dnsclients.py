"""The clients of the DNS: each gets its sockets opened, handed over, and its place left as it was.

A client is attended to by one task, from when something is wanted until all of it is done; so what
is asked of it in between is done in order, and only the last of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol as Interface

from netplug.contract.names import NameClient, NameProblem
from netplug.errors import PynetError
from netplug.kernel import dnssockets, dnswords
from netplug.kernel.dnssockets import Sockets
from netplug.kernel.worker import Packet, Packets

_PAUSE_S = (1.0, 60.0)  # before the second try, and at most; it doubles from try to try
_NOT_YET = "its sockets are not open yet"
_FORGOTTEN_S = 2.0  # an answer takes 1 ms
_LEAVING_S = 10.0  # for all sandboxes: 1 000 take 2 s

log = logging.getLogger(__name__)


class PlacesLike(Interface):
    """What is needed of `netplug.kernel.dnsplaces.Places`."""

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` when a namespace may be gone, until `stop`."""
        ...

    def stop(self) -> None:
        """Listen no more."""
        ...

    def is_there(self, client: NameClient) -> bool:
        """Return whether the client's namespace exists."""
        ...

    def open(self, client: NameClient) -> Coroutine[object, object, Sockets]:
        """Open a client's sockets, as soon as its namespace is there."""
        ...

    async def close(self, client: NameClient) -> None:
        """Leave a client's namespace."""
        ...

    async def forwarder(self, client: NameClient, transport: str) -> Sockets:
        """Open a socket to the resolver that a client has besides ours."""
        ...


@dataclass(slots=True)
class _Served:
    """One client.

    `placed` is the client as its place was last entered for, None if that was left. `told` is what
    the process knows of it. `process` is the number of the process that has its sockets, or gets
    them: they are held here until they can be handed over, and die with the process then.
    """

    id: str
    wanted: NameClient | None
    placed: NameClient | None = None
    told: NameClient | None = None
    process: int = -1
    sockets: Sockets = ()
    problem: str = ""
    is_gone: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    forgotten: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    opening: asyncio.Task[Sockets] | None = None


class Clients:
    """All clients; `say` speaks to the process, if there is one that listens."""

    def __init__(self, places: PlacesLike, say: Callable[[Packets], bool]) -> None:
        self._places = places
        self._say = say
        self._served: dict[str, _Served] = {}
        self._forwarding: set[asyncio.Task[None]] = set()
        self._unsent: dict[int, Sockets] = {}
        self._process = 0

    def open(self) -> None:
        """Let go of namespaces that are gone, from now on."""
        self._places.listen(self._look_over)

    def serve(self, client: NameClient) -> None:
        """Have a client answered, here and thus from now on."""
        served = self._served.get(client.id)
        if served is None:
            served = self._served[client.id] = _Served(id=client.id, wanted=client)
        served.wanted = client
        self._attend_to(served)

    def forget(self, client_id: str) -> None:
        """Have a client answered no more."""
        if served := self._served.get(client_id):
            served.wanted = None
            self._attend_to(served)

    def begin(self) -> None:
        """Hand over to a new process what is open already."""
        for served in self._served.values():
            if served.sockets:
                self._say(partial(self._handover, served))

    def end(self) -> None:
        """Open all sockets again that the process had."""
        self._process += 1
        self._drop_unsent()
        for served in self._served.values():
            served.told = None
            served.forgotten.set()
            if served.sockets:
                served.process = self._process
            elif served.placed is not None:
                self._attend_to(served)

    def forgotten(self, client_id: str) -> None:
        """Take note that the process has closed a client's sockets."""
        if served := self._served.get(client_id):
            served.forgotten.set()

    def need(self, client_id: str, transport: str, number: int) -> None:
        """Open a forwarder's socket for the process and hand it over."""
        task = asyncio.create_task(self._forward(client_id, transport, number))
        self._forwarding.add(task)
        task.add_done_callback(self._forwarding.discard)

    def problems(self) -> tuple[NameProblem, ...]:
        """Return who is not served, and why."""
        return tuple(
            NameProblem(
                client_id=served.id,
                label=served.wanted.label,
                reason=self._reason(served.problem, served.wanted),
            )
            for served in self._served.values()
            if served.problem and served.wanted is not None
        )

    def _reason(self, problem: str, wanted: NameClient) -> str:
        if problem is _NOT_YET and not self._places.is_there(wanted):
            return f"its namespace {wanted.netns} is not there"
        return problem

    async def close(self, *, is_stop: bool) -> None:
        """Stop attending; with `is_stop`, leave every place as it was."""
        self._places.stop()
        tasks = {s.task for s in self._served.values() if s.task is not None} | self._forwarding
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if is_stop:
            placed = [s.placed for s in self._served.values() if s.placed is not None]
            with suppress(TimeoutError):  # the rest falls back by itself
                async with asyncio.timeout(_LEAVING_S):
                    await asyncio.gather(*map(self._places.close, placed), return_exceptions=True)
        self._drop_unsent()
        for served in self._served.values():
            _drop_sockets(served)
        self._served.clear()

    def _look_over(self) -> None:
        """Let go of namespaces that nobody has any more: a socket would keep one, and its links.

        A dockerd that was killed never says that their containers are gone.
        """
        for served in self._served.values():
            if served.placed is None or served.process != self._process:
                continue
            if not self._places.is_there(served.placed):
                served.is_gone = True
                self._attend_to(served)

    def _attend_to(self, served: _Served) -> None:
        served.changed.set()
        if served.opening is not None:
            served.opening.cancel()
        if served.task is None:
            served.task = asyncio.create_task(self._run(served), name=f"dns {served.id}")

    async def _run(self, served: _Served) -> None:
        try:
            while served.changed.is_set():
                served.changed.clear()
                await self._attend(served)
        except Exception:  # the head of a task
            served.problem = "an error of pynet's, see the log"
            log.exception("a DNS client is not served", extra={"client": served.id})
        finally:
            served.task = None

    async def _attend(self, served: _Served) -> None:
        wanted = served.wanted
        if wanted is None:
            await self._leave(served)
            if served.wanted is None:
                self._served.pop(served.id, None)
            return
        was_elsewhere = served.placed is not None and _whereabouts(served.placed) != (
            _whereabouts(wanted)
        )
        if was_elsewhere or served.is_gone:
            served.is_gone = False
            await self._leave(served)
        if served.placed is None or served.process != self._process:
            await self._place(served, wanted)
        elif wanted != served.told:
            self._say(partial(self._handover, served))

    async def _place(self, served: _Served, wanted: NameClient) -> None:
        """Open sockets and hand them over, or give up when something else is wanted."""
        pause_s, longest_s = _PAUSE_S
        last = ""
        while not served.changed.is_set():
            served.placed, served.problem = wanted, last or _NOT_YET
            try:
                sockets = await self._open(served, wanted)
            except PynetError as error:
                served.problem = str(error)
                if served.problem != last:
                    last = served.problem
                    log.warning(
                        "a DNS client is not served, trying again",
                        extra={"client": wanted.id, "reason": last},
                    )
                await _wait(served.changed, pause_s)
                pause_s = min(pause_s * 2, longest_s)
                continue
            if sockets is not None:
                _drop_sockets(served)
                served.sockets, served.process, served.problem = sockets, self._process, ""
                self._say(partial(self._handover, served))
                return

    async def _open(self, served: _Served, wanted: NameClient) -> Sockets | None:
        """Return what is opened; None if something else is wanted, and then nothing is open."""
        opening = served.opening = asyncio.ensure_future(self._places.open(wanted))
        try:
            return await opening
        except asyncio.CancelledError:
            if opening.done() and not opening.cancelled() and opening.exception() is None:
                dnssockets.close(opening.result())
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return None
        finally:
            served.opening = None

    async def _leave(self, served: _Served) -> None:
        """Leave a client's place, then have the process close its sockets."""
        placed = served.placed
        _drop_sockets(served)
        served.process = -1
        if placed is None:
            return
        await self._places.close(placed)
        was_told, served.told, served.placed = served.told, None, None
        served.forgotten.clear()
        farewell = Packet(text=dnswords.text_of({"forget": served.id}))
        if was_told and self._say(lambda: [farewell]):
            await _wait(served.forgotten, _FORGOTTEN_S)

    def _handover(self, served: _Served) -> Iterator[Packet]:
        wanted, placed = served.wanted, served.placed
        if wanted is None or placed is None or _whereabouts(wanted) != _whereabouts(placed):
            return
        if served.process != self._process or (wanted == served.told and not served.sockets):
            return
        sockets, served.sockets = served.sockets, ()
        served.told = wanted
        try:
            yield Packet(text=dnswords.client_text(wanted), fds=[s.fileno() for s in sockets])
        finally:
            dnssockets.close(sockets)

    async def _forward(self, client_id: str, transport: str, number: int) -> None:
        served = self._served.get(client_id)
        process = self._process
        message: dict[str, object] = {"forwarder": number}
        try:
            if served is None or served.placed is None:
                message["error"] = "there is no such client"
            else:
                sockets = await self._places.forwarder(served.placed, transport)
                if process != self._process:
                    dnssockets.close(sockets)
                    return
                self._unsent[number] = sockets
        except PynetError as error:
            message["error"] = str(error)
        if process == self._process:
            self._say(partial(self._answer, message, number))

    def _answer(self, message: dict[str, object], number: int) -> Iterator[Packet]:
        sockets = self._unsent.pop(number, ())
        try:
            yield Packet(text=dnswords.text_of(message), fds=[s.fileno() for s in sockets])
        finally:
            dnssockets.close(sockets)

    def _drop_unsent(self) -> None:
        for sockets in self._unsent.values():
            dnssockets.close(sockets)
        self._unsent.clear()


def _whereabouts(client: NameClient) -> tuple[object, ...]:
    """Return what of a client its sockets depend on."""
    return client.kind, client.netns, client.listen


def _drop_sockets(served: _Served) -> None:
    sockets, served.sockets = served.sockets, ()
    dnssockets.close(sockets)


async def _wait(event: asyncio.Event, deadline_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(deadline_s):
            await event.wait()
