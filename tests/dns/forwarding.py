"""Those who answer what the resolver passes on: Docker's resolver, and those of the host."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rrset

if TYPE_CHECKING:
    from tests.dns.conftest import Rig

NAME = "example.com."


class Docker:
    """Docker's resolver, as far as it is seen through sockets that the daemon opens."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.sock = rig.bound()
        self.asker: Any = None

    def give_socket(self) -> None:
        need = self.rig.heard()
        assert (need["need"], need["transport"]) == ("forwarder", "udp")
        sock = self.rig.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.connect(self.sock.getsockname())
        self.rig.tell({"forwarder": need["number"]}, (sock,))

    def heard(self) -> bytes:
        text, self.asker = self.rig.until(lambda: self.sock.recvfrom(65536))
        return text

    def say(self, text: bytes) -> None:
        self.sock.sendto(text, self.asker)

    def answer(self, *records: str, rcode: int = 0, ttl: int = 100) -> dns.message.Message:
        """Answer the next question."""
        query = dns.message.from_wire(self.heard())
        reply = reply_to(query, *records, rcode=rcode, ttl=ttl)
        self.say(reply.to_wire())
        return query


def reply_to(
    query: dns.message.Message, *records: str, rcode: int = 0, ttl: int = 100
) -> dns.message.Message:
    reply = dns.message.make_response(query, recursion_available=True)
    reply.set_rcode(rcode)  # type: ignore[arg-type]
    name = query.question[0].name
    for record in records:
        kind, _, value = record.partition(" ")
        section = reply.authority if kind == "SOA" else reply.answer
        section.append(dns.rrset.from_text(name, ttl, "IN", kind, value))
    return reply


def sent(client: socket.socket, name: str = NAME, kind: str = "A", **how: Any) -> bytes:
    text = dns.message.make_query(name, kind, **how).to_wire()
    client.send(text)
    return text


def say(rig: Rig, server: socket.socket, *records: str, rcode: int = 0) -> None:
    text, asker = rig.until(lambda: server.recvfrom(9999))
    reply = reply_to(dns.message.from_wire(text), *records, rcode=rcode)
    server.sendto(reply.to_wire(), asker)
