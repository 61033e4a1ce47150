"""A client that asks a DNS server, and tells all that is in the answer.

The file is also the program that asks in a namespace; it needs Python and dnspython, nothing else.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

if TYPE_CHECKING:
    from integration.lab.process import Completed

RESOLVER = "127.0.0.11"
NO_EDNS = 0
PATIENCE_S = 3.0
RESEND_S = 1.0
PROGRAM = (sys.executable, "-I", __file__)


class Question(NamedTuple):
    """What to ask, and whom. `edns` is the size of answers that the client takes over UDP."""

    name: str
    kind: str = "A"
    server: str = RESOLVER
    protocol: str = "udp"
    edns: int = NO_EDNS


class Record(NamedTuple):
    """One record of an answer; `value` is as in a zone file."""

    name: str
    ttl: int
    kind: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer; `question` is the name as the answer repeats it."""

    rcode: str
    flags: frozenset[str]
    question: str
    answer: tuple[Record, ...]
    authority: tuple[Record, ...]
    additional: tuple[Record, ...]

    @property
    def values(self) -> list[str]:
        """The values, in the order of the answer."""
        return [record.value for record in self.answer]

    @property
    def ttls(self) -> set[int]:
        return {record.ttl for record in self.answer}

    @property
    def is_empty(self) -> bool:
        """The name is there, and has nothing of the kind that was asked for (RFC 2308)."""
        return self.rcode == "NOERROR" and not self.answer

    @property
    def negative_ttl(self) -> int | None:
        """For how long absence may be remembered: the last field of the SOA, if there is one."""
        return next((int(r.value.split()[-1]) for r in self.authority if r.kind == "SOA"), None)


class Runner(Protocol):
    """Runs a command somewhere, like `Host.run` and `Underlay.run`."""

    def __call__(self, argv: Sequence[str], *, stdin: str) -> Completed: ...


def ask(run: Runner, *questions: Question) -> list[Reply | None]:
    """Ask one after the other, and return the answers; None where none came."""
    printed = run(PROGRAM, stdin=json.dumps(questions)).stdout
    return [_reply(told) if told else None for told in json.loads(printed)]


def _reply(told: dict[str, Any]) -> Reply:
    sections = {
        name: tuple(Record(*record) for record in told[name])
        for name in ("answer", "authority", "additional")
    }
    flags = frozenset(told["flags"])
    return Reply(rcode=told["rcode"], flags=flags, question=told["question"], **sections)


# The program


def _asked(question: Question) -> dict[str, Any] | None:
    query = dns.message.make_query(question.name, question.kind)
    if question.edns != NO_EDNS:
        query.use_edns(payload=question.edns)
    exchange = _over_tcp if question.protocol == "tcp" else _over_udp
    try:
        wire = exchange(question, query.to_wire())
    except OSError:
        return None
    return _told(dns.message.from_wire(wire)) if wire else None


def _over_udp(question: Question, query: bytes) -> bytes:
    end = time.monotonic() + PATIENCE_S
    with socket.socket(_family(question.server), socket.SOCK_DGRAM) as client:
        client.settimeout(RESEND_S)
        client.connect((question.server, 53))
        while time.monotonic() < end:
            client.send(query)
            try:
                return client.recv(65535)
            except TimeoutError:
                continue
    return b""


def _over_tcp(question: Question, query: bytes) -> bytes:
    with socket.socket(_family(question.server), socket.SOCK_STREAM) as client:
        client.settimeout(PATIENCE_S)
        client.connect((question.server, 53))
        client.sendall(struct.pack("!H", len(query)) + query)
        (size,) = struct.unpack("!H", _exactly(client, 2))
        return _exactly(client, size)


def _exactly(client: socket.socket, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = client.recv(size - len(parts))
        if not part:
            raise ConnectionError("closed before the answer was whole")
        parts += part
    return parts


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _told(reply: dns.message.Message) -> dict[str, Any]:
    return {
        "rcode": dns.rcode.to_text(reply.rcode()),
        "flags": dns.flags.to_text(reply.flags).split(),
        "question": reply.question[0].name.to_text().removesuffix(".") if reply.question else "",
        **{
            name: [
                (rrset.name.to_text().removesuffix("."), rrset.ttl, kind, record.to_text())
                for rrset in section
                for kind in [dns.rdatatype.to_text(rrset.rdtype)]
                for record in rrset
            ]
            for name, section in (
                ("answer", reply.answer),
                ("authority", reply.authority),
                ("additional", reply.additional),
            )
        },
    }


def main() -> None:
    questions = (Question(*words) for words in json.load(sys.stdin))
    json.dump([_asked(question) for question in questions], sys.stdout)


if __name__ == "__main__":
    main()
