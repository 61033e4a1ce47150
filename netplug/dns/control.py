"""What the daemon and the resolver tell each other.

A message is a JSON object in a packet of its own, at most 64 KiB long; a longer change is several
messages. Values are those of `netplug.contract.names`, field by field under the same names, with
addresses and networks as text. Fields that have a default may be left out.

The daemon says, in any order:

    {"settings": {"domain": "pynet", "rate": 200000}}
        What may be left out. `rate` is what a client may cost a second: 1 an answer that is kept,
        20 one that is looked up or forwarded; a tenth of it while other clients ask too, that is,
        one did within the last second. Said before the first client, if at all.

    {"change": {"puts": [ITEM, ...], "drops": [ITEM, ...]}}
        ITEM is {"network": {"id", "name", "ttl_s", "subnets": ["10.0.0.0/24"], "is_internal"}}
        or {"endpoint": {"id", "network_id", "label", "names": [...], "addresses": ["10.0.0.2"],
        "ports": [["tcp", 80], ...]}} or {"record": {"network_id", "name", "kind", "values"}}.
        A drop needs no more than the key: {"endpoint": {"id"}}. Endpoints and records may come
        before their network; they are not answered until it is there.

    {"client": {"id", "kind", "label", "network_ids": [...], "netns", "listen", "forwards",
        "left_to_docker": ["db", "db.front"]}}
        and sockets, any number of bound UDP and listening TCP ones, in one SCM_RIGHTS. Without
        sockets only what is said of the client changes; with sockets those it had are closed.
        A client may be told before its networks.
        To an OVERLAY client with a UDP socket the dead-man's first beat is sent before the next
        message is read, and one every 4 s from then on: a byte to 127.0.0.11 port 9.

    {"forget": ID}              answered {"forgotten": ID} when its descriptors are closed

    {"forwarder": NUMBER}       and one socket, as needed (below): the answer to that
    {"forwarder": NUMBER, "error": TEXT}    it cannot be had

    {"sync": NUMBER}            answered {"synced": NUMBER}: all that was said before is in force

    {"statistics": NUMBER}      answered, in as many messages as it takes, with
        {"statistics": NUMBER, "clients": {ID: {"queries", "hits", "misses", "forwarded", "failed",
        "refused", "dropped", "rcodes": {"NOERROR": 7}}, ...}, "is_last": true}

    {"lookup": NUMBER, "client": ID, "name": "web", "kind": "A"}, or with "networks": [ID, ...]
        in place of "client"; answered {"lookup": NUMBER, "answer": {"rcode", "records", "source",
        "network_id", "owners", "reason"}} or {"lookup": NUMBER, "error": TEXT, "is_unknown_client":
        BOOL}

    {"follow": true} or false   whether questions are told; those of late (1000 at most) come first

The resolver says {"ready": true} first, then, beside the answers above:

    {"need": "forwarder", "client": ID, "transport": "udp" or "tcp", "number": NUMBER}
        OVERLAY clients only: a socket with the DNS mark, in the client's namespace, connected to
        127.0.0.11 port 53, nonblocking. A TCP one may still be connecting. It is answered once;
        a late answer is closed. A UDP one is kept for 30 s of use, or less if it leads nowhere: a
        new one takes its place. A TCP one is for one question.
    {"log": [{"at": SECONDS SINCE 1970, "client_id", "label", "name", "kind", "rcode", "source",
        "records", "took_s"}, ...], "lost": COUNT}
    {"warning": TEXT}

What is not understood is answered with a warning, and its sockets are closed. When sockets were
lost since no descriptor is left, the resolver warns and ends: a new process has none in use.
"""

from __future__ import annotations

import errno
import json
import socket
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from netplug.contract.names import ClientKind, Source
from netplug.dns import decode
from netplug.dns.answer import Forward, Refuse, Reply
from netplug.dns.client import Client
from netplug.dns.encode import texts
from netplug.dns.forward import Forwarder, Upstreams
from netplug.dns.heartbeat import Heartbeat
from netplug.dns.querylog import ENTRIES, Entry, described
from netplug.dns.resolvconf import HostResolvers
from netplug.dns.resolver import Resolver
from netplug.dns.server import UdpPort
from netplug.dns.stream import TcpPort
from netplug.dns.zone import canonical
from netplug.loop import READ, WRITE, Descriptors, Loop

_MESSAGE_BYTES = 65536
_MESSAGE_SOCKETS = 253  # include/net/scm.h, SCM_MAX_FD
_UNSENT_MESSAGES = 20_000  # a daemon that does not listen is as good as none
_SAID_BYTES = 48 * 1024  # a message of ours, about: the daemon reads 64 KiB
_STATISTICS = 75  # clients a message; one is 600 bytes at most
_FAILURES, _FAILING_S = 100, 60.0  # so many bugs in so long
_LOG_S = 0.1
_LOG_ENTRIES = 50  # every _LOG_S; describing one takes 0.2 ms
_LOG_BUDGET_S = 0.02  # every _LOG_S; some take 3 ms
_WARNING = 4000  # characters


class Control:
    """The resolver, as the daemon sees it."""

    def __init__(
        self,
        loop: Loop,
        descriptors: Descriptors,
        daemon: socket.socket,
        wall_s: Callable[[], float],
        host: HostResolvers | None = None,
    ) -> None:
        self._loop = loop
        self._daemon = daemon
        self._wall_s = wall_s
        self._host = host or HostResolvers(lambda: loop.now_s)
        self.resolver = Resolver(loop, Upstreams(loop, descriptors, self._host, self._need))
        self.clients: dict[str, Client] = {}
        self.is_over = False
        self._heartbeat = Heartbeat(loop)
        self._needs: dict[int, Forwarder] = {}
        self._numbers = 0
        self._is_followed = False
        self._is_telling = False
        self._untold: deque[Entry] = deque()
        self._lost = 0
        self._failures, self._failing_s = 0, loop.now_s
        self._unsent: deque[bytes] = deque()
        self._orders: dict[str, Callable[[dict[str, Any], list[socket.socket]], None]] = {
            "lookup": self._lookup,  # before "client", which it may name
            "settings": self._settings,
            "change": self._change,
            "client": self._client,
            "forget": self._forget,
            "forwarder": self._forwarder,
            "sync": self._sync,
            "statistics": self._statistics,
            "follow": self._follow,
        }
        daemon.setblocking(False)
        self._watch()
        self._say({"ready": True})

    def run(self) -> None:
        """Serve until the daemon is gone."""
        while not self.is_over:
            try:
                self._loop.run_once()
            except Exception as error:  # the head of the process: one bad packet must not end it
                self._survive(error)

    def close(self) -> None:
        """Close everything."""
        for client_id in list(self.clients):
            self._close_client(client_id)
        self._loop.discard(self._daemon)
        self._loop.close()

    def _survive(self, error: Exception) -> None:
        """Tell of a bug and go on; with too many at once, a new process may do better."""
        if self._loop.now_s - self._failing_s > _FAILING_S:
            self._failing_s, self._failures = self._loop.now_s, 0
        self._failures += 1
        if self._failures > _FAILURES:
            raise error
        where = "".join(traceback.format_exception(error)[-4:])
        self._warn(f"a bug of the resolver's; a question may be unanswered: {where}")

    def _watch(self) -> None:
        self._loop.watch(self._daemon.fileno(), READ | (WRITE if self._unsent else 0), self._turn)

    def _turn(self, events: int) -> None:
        if self._unsent:
            self._send_on()
        if events & ~WRITE and not self.is_over:
            self._listen()

    def _listen(self) -> None:
        try:
            text, fds, flags, _address = socket.recv_fds(
                self._daemon, _MESSAGE_BYTES, _MESSAGE_SOCKETS
            )
        except BlockingIOError:
            return
        except OSError:
            self.is_over = True
            return
        sockets = [socket.socket(fileno=fd) for fd in fds]
        if not text:
            self.is_over = True
        elif flags & socket.MSG_CTRUNC:
            # Sockets are lost: no descriptor was left for them. A new process has none in use.
            self._warn("no descriptor is left for the sockets of a client; starting anew")
            self.is_over = True
        elif flags & socket.MSG_TRUNC:
            self._warn("a message was too long")
        else:
            self._obey(text, sockets)
        for sock in sockets:
            sock.close()

    def _obey(self, text: bytes, sockets: list[socket.socket]) -> None:
        """Do what a message says; what is taken of `sockets` is taken from the list."""
        try:
            message = json.loads(text)
            order = next((word for word in self._orders if word in message), None)
            if order is None:
                raise ValueError("it says nothing that is known")
            self._orders[order](message, sockets)
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            self._warn(f"a message was not understood: {error!r}")

    def _settings(self, message: dict[str, Any], _: list[socket.socket]) -> None:
        settings = message["settings"]
        if "domain" in settings:
            self.resolver.set_domain(str(settings["domain"]))
        if "rate" in settings:
            self.resolver.rate = float(settings["rate"])

    def _change(self, message: dict[str, Any], _: list[socket.socket]) -> None:
        self.resolver.change(decode.change(message["change"]))

    def _client(self, message: dict[str, Any], sockets: list[socket.socket]) -> None:
        spec = decode.client(message["client"])
        client = self.clients.get(spec.id)
        if client is not None and client.spec.kind is not spec.kind:
            self._close_client(spec.id)
            client = None
        if client is None:
            client = self.clients[spec.id] = self.resolver.open_client(spec)
        else:
            self.resolver.change_client(client, spec)
        self._leave_out_ours()
        if sockets:
            self._open_ports(client, sockets)

    def _open_ports(self, client: Client, sockets: list[socket.socket]) -> None:
        self._close_ports(client)
        while sockets:
            sock = sockets[0]
            kind = UdpPort if sock.type == socket.SOCK_DGRAM else TcpPort
            client.ports.append(kind(self.resolver, client, sock))
            sockets.pop(0)
            self.resolver.descriptors.take(1)
            if kind is UdpPort and client.spec.kind is ClientKind.OVERLAY:
                self._heartbeat.start(client.spec.id, sock)

    def _close_ports(self, client: Client) -> None:
        self._heartbeat.stop(client.spec.id)
        for port in client.ports:
            port.close()
            self.resolver.descriptors.give(1)
        client.ports.clear()

    def _close_client(self, client_id: str) -> None:
        client = self.clients.pop(client_id, None)
        if client is not None:
            self._close_ports(client)
            forwarder = client.forwarder
            self.resolver.close_client(client)
            self._needs = {n: f for n, f in self._needs.items() if f is not forwarder}
            self._leave_out_ours()

    def _leave_out_ours(self) -> None:
        """Have nobody's questions go to the host's resolvers where that is our HOST client."""
        hosts = [c.spec for c in self.clients.values() if c.spec.kind is ClientKind.HOST]
        self._host.ours = frozenset(str(address) for spec in hosts for address in spec.listen)

    def _forget(self, message: dict[str, Any], _: list[socket.socket]) -> None:
        client_id = str(message["forget"])
        self._close_client(client_id)
        self._loop.afterwards(lambda: self._say({"forgotten": client_id}))

    def _need(self, client_id: str, transport: str, forwarder: Forwarder) -> int:
        self._numbers += 1
        self._needs[self._numbers] = forwarder
        self._say(
            {
                "need": "forwarder",
                "client": client_id,
                "transport": transport,
                "number": self._numbers,
            }
        )
        return self._numbers

    def _forwarder(self, message: dict[str, Any], sockets: list[socket.socket]) -> None:
        number = int(message["forwarder"])
        forwarder = self._needs.pop(number, None)
        sock = sockets[0] if sockets else None
        if forwarder is not None and forwarder.take(number, sock):
            sockets.pop(0)

    def _sync(self, message: dict[str, Any], _: list[socket.socket]) -> None:
        self._say({"synced": message["sync"]})

    def _statistics(self, message: dict[str, Any], _: list[socket.socket]) -> None:
        clients = list(self.clients.values())
        for start in range(0, max(len(clients), 1), _STATISTICS):
            part = clients[start : start + _STATISTICS]
            self._say(
                {
                    "statistics": message["statistics"],
                    "clients": {client.spec.id: client.statistics() for client in part},
                    "is_last": start + _STATISTICS >= len(clients),
                }
            )

    def _lookup(self, message: dict[str, Any], _: list[socket.socket]) -> None:
        number = message["lookup"]
        client = self.clients.get(str(message.get("client", "")))
        if client is None and "client" in message:
            self._say({"lookup": number, "error": "no such client", "is_unknown_client": True})
            return
        asker = client or [decode.network_id(text) for text in message["networks"]]
        try:
            name, kind = decode.question(message)
        except ValueError as error:
            self._say({"lookup": number, "error": str(error), "is_unknown_client": False})
            return
        outcome = self.resolver.preview(asker, canonical(name), kind)
        self._say({"lookup": number, "answer": _described(outcome)})

    def _follow(self, message: dict[str, Any], _: list[socket.socket]) -> None:
        was_followed, self._is_followed = self._is_followed, bool(message["follow"])
        if not self._is_followed:
            self._untold.clear()
        elif not was_followed:
            self.resolver.log.rewind()
            self._take_log(ENTRIES)
            if not self._is_telling:
                self._tell_log()

    def _take_log(self, most: int) -> None:
        entries, lost = self.resolver.log.fresh(most)
        self._untold += entries
        self._lost += lost
        while len(self._untold) > ENTRIES:
            self._untold.popleft()
            self._lost += 1

    def _tell_log(self) -> None:
        """Tell of questions for a while, and again a moment later while the log is followed."""
        self._is_telling = self._is_followed
        if not self._is_followed:
            return
        self._take_log(_LOG_ENTRIES)
        end_s = self._loop.monotonic_s() + _LOG_BUDGET_S
        log: list[dict[str, object]] = []
        size = 0
        while self._untold and self._loop.monotonic_s() < end_s:
            entry = self._untold.popleft()
            told = {"at": entry[0] + self._wall_s() - self._loop.now_s, **described(entry)}
            length = len(json.dumps(told))
            if log and size + length > _SAID_BYTES:
                self._say_log(log)
                log, size = [], 0
            log.append(told)
            size += length
        if log or self._lost:
            self._say_log(log)
        self._loop.at(self._loop.now_s + _LOG_S, self._tell_log)

    def _say_log(self, log: list[dict[str, object]]) -> None:
        lost, self._lost = self._lost, 0
        self._say({"log": log, "lost": lost})

    def _warn(self, text: str) -> None:
        self._say({"warning": text[:_WARNING]})

    def _say(self, message: dict[str, object]) -> None:
        text = json.dumps(message).encode()
        if len(self._unsent) >= _UNSENT_MESSAGES:
            self.is_over = True
            return
        self._unsent.append(text)
        if len(self._unsent) == 1:
            self._send_on()

    def _send_on(self) -> None:
        while self._unsent:
            try:
                self._daemon.send(self._unsent[0])
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.EMSGSIZE:  # it is gone, which reading will tell
                    self._unsent.clear()
                    break
                text = self._unsent.popleft()
                lost = {"warning": f"a message of {len(text)} bytes was too long: {text[:99]!r}"}
                self._unsent.append(json.dumps(lost).encode())
                continue
            self._unsent.popleft()
        self._watch()


def _described(outcome: Reply | Forward | Refuse) -> dict[str, object]:
    match outcome:
        case Forward():
            return {"rcode": "", "source": Source.UPSTREAM, "reason": outcome.reason}
        case Refuse():
            return {"rcode": "REFUSED", "source": Source.NOBODY, "reason": outcome.reason}
        case Reply():
            sections = (outcome.answer, outcome.authority, outcome.additional)
            return {
                "rcode": outcome.rcode.name,
                "records": _shortened(texts(sections)),
                "source": Source.NAMES,
                "network_id": outcome.network_id,
                "owners": outcome.owners,
                "reason": outcome.reason,
            }


def _shortened(lines: Iterable[str]) -> list[str]:
    """Return as many lines as a message has room for, and how many there are more."""
    shown: list[str] = []
    left = 0
    size = 0
    for line in lines:
        size += len(json.dumps(line)) + 2
        if size <= _SAID_BYTES:
            shown.append(line)
        else:
            left += 1
    return [*shown, f"; {left} more"] if left else shown
