"""Bytes to a question, or to what is wrong with them. Reads nothing that it does not need.

Every read is within the datagram, and no name of it is followed: a question's name has no pointer
(there is nothing before it to point to), and other names are only stepped over.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

HEADER_BYTES = 12
PLAIN_BYTES = 512  # RFC 1035: what fits a datagram without EDNS
LARGEST_BYTES = 4096  # what we send and take in a datagram, which meets no router
STREAM_BYTES = 65535

QR, AA, TC, RD, RA, AD, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0020, 0x0010
IN = 1

MODEST_BYTES, MODEST_RECORDS = 4096, 64

_OPCODE = 0x7800
_OPT = 41
_DO = 0x8000
_NAME_BYTES = 255
_RECORDS = 16  # beside the question; a TSIG, an OPT, and the SOA of an IXFR are 3

# The sizes that resolvers offer; others are rounded down, so that few answers need be kept.
_SIZES = (LARGEST_BYTES, 1452, 1410, 1400, 1232, 1220, 1200, PLAIN_BYTES)

_HEADER = struct.Struct("!HHHHHH")
_COUNTS = struct.Struct("!HHH")
_TWO = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")  # type, class, TTL, length of what follows
_OPT_HEAD = struct.Struct("!BHHI")


class Rcode(IntEnum):
    """RFC 1035, 6891."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


class Query(NamedTuple):
    """A question that can be answered; a tuple, which is made in a third of a dataclass's time.

    `qname` is the name in wire form as it was asked, `lower` in lower case. `size` is what fits
    the asker's datagram. `edns` is the EDNS version and flags, None without EDNS.
    """

    data: bytes
    flags: int
    qname: bytes
    lower: bytes
    kind: int
    klass: int
    size: int
    edns: int | None
    has_options: bool

    @property
    def version(self) -> int:
        """Return the EDNS version."""
        return 0 if self.edns is None else self.edns >> 16 & 0xFF

    @property
    def wants_dnssec(self) -> bool:
        """Return whether signatures are wanted."""
        return self.edns is not None and bool(self.edns & _DO)

    @property
    def question(self) -> bytes:
        """Return the question section, as it was asked."""
        return self.qname + _TWO.pack(self.kind, self.klass)

    @property
    def limit(self) -> int:
        """Return how long our reply in a datagram may be."""
        return next(size for size in _SIZES if size <= self.size)

    @property
    def key(self) -> bytes:
        """Return what our answers depend on, in the form of the plainest datagram that asks it.

        So a datagram of that form, without its id, is its own key.
        """
        head = (self.flags & (RD | AD | CD), 1, 0, 0, 0 if self.edns is None else 1)
        question = self.lower + _TWO.pack(self.kind, self.klass)
        return struct.pack("!HHHHH", *head) + question + self._opt()

    @property
    def upstream_key(self) -> bytes:
        """Return all of the datagram but its id and the case of the name."""
        end = HEADER_BYTES + len(self.qname)
        return self.data[2:HEADER_BYTES] + self.lower + self.data[end:]

    def _opt(self) -> bytes:
        if self.edns is None:
            return b""
        return _OPT_HEAD.pack(0, _OPT, self.limit, self.edns & _DO) + b"\0\0"


@dataclass(frozen=True, slots=True)
class Bad:
    """What cannot be answered: the reply that says so."""

    reply: bytes
    rcode: Rcode


def parse(data: bytes) -> Query | Bad | None:
    """Return the question, the reply to what is none, or None for what deserves silence."""
    if len(data) < 4 or data[2] & 0x80:
        return None
    flags = data[2] << 8 | data[3]
    if flags & _OPCODE:
        return Bad(failure(data, Rcode.NOTIMP), Rcode.NOTIMP)
    try:
        return _parse(data, flags)
    except (_Malformed, IndexError, struct.error):
        return Bad(failure(data, Rcode.FORMERR), Rcode.FORMERR)


def failure(data: bytes, rcode: Rcode, question: bytes = b"") -> bytes:
    """Return a reply of a header, and the question if there was one."""
    flags = data[2] << 8 | data[3]
    flags = QR | RA | flags & (_OPCODE | RD | CD) | rcode & 0xF
    return data[:2] + struct.pack("!HHHHH", flags, 1 if question else 0, 0, 0, 0) + question


def refusal(query: Query, rcode: Rcode) -> bytes:
    """Return a reply without records, with EDNS if the question had it."""
    reply = failure(query.data, rcode, query.question)
    if query.edns is None:
        return reply
    return reply[:11] + b"\1" + reply[12:] + opt(query, rcode)


def truncated(query: Query, flags: int) -> bytes:
    """Return a reply that sends the asker to TCP; `flags` are those of the whole answer."""
    reply = refusal(query, Rcode.NOERROR)
    return reply[:2] + struct.pack("!H", flags | TC) + reply[4:]


def opt(query: Query, rcode: Rcode | int = 0) -> bytes:
    """Return the OPT record of a reply."""
    wants = _DO if query.wants_dnssec else 0
    return _OPT_HEAD.pack(0, _OPT, LARGEST_BYTES, (rcode >> 4) << 24 | wants) + b"\0\0"


def text_of(lower: bytes) -> str:
    """Return a name in wire form as text; a dot in a label, as no name of ours has, is escaped."""
    labels = []
    at = 0
    while length := lower[at]:
        label = lower[at + 1 : at + 1 + length].decode("latin-1")
        if "." in label or "\\" in label:
            label = label.replace("\\", "\\\\").replace(".", "\\.")
        labels.append(label)
        at += 1 + length
    return ".".join(labels)


def end_of_name(data: bytes, at: int) -> int:
    """Return where a name in wire form ends, without following it.

    Raises:
        IndexError, struct.error: outside of the datagram. Malformed names raise a ValueError.
    """
    start = at
    while True:
        length = data[at]
        if length >= 0xC0:
            return at + 2
        if length >= 0x40 or at - start > _NAME_BYTES:
            raise _Malformed
        at += 1 + length
        if not length:
            return at


def is_modest(body: bytes) -> bool:
    """Return whether an answer, without its id, is worth more than a look at its header.

    What others answer is up to them, and time with each record is time without answers.
    """
    if not HEADER_BYTES - 2 <= len(body) <= MODEST_BYTES:
        return False
    answers, authorities, others = _COUNTS.unpack_from(body, 4)
    return int(answers + authorities + others) <= MODEST_RECORDS


class _Malformed(ValueError):
    """It is no DNS message."""


def _parse(data: bytes, flags: int) -> Query:
    _, _, questions, answers, authorities, others = _HEADER.unpack_from(data)
    if questions != 1 or answers or authorities + others > _RECORDS:
        raise _Malformed
    end = _end_of_question_name(data)
    kind, klass = _TWO.unpack_from(data, end)
    at, opt_at = end + 4, 0
    for number in range(authorities + others):
        begin, (at, found) = at, _skip_record(data, at)
        if found == _OPT:
            if opt_at or number < authorities or data[begin]:
                raise _Malformed
            opt_at = begin
    if at != len(data):
        raise _Malformed
    size, edns, has_options = PLAIN_BYTES, None, False
    if opt_at:
        _, size, edns, length = _RECORD.unpack_from(data, opt_at + 1)
        size = max(PLAIN_BYTES, min(size, LARGEST_BYTES))
        has_options = length > 0
    qname = data[HEADER_BYTES:end]
    return Query(data, flags, qname, qname.lower(), kind, klass, size, edns, has_options)


def _end_of_question_name(data: bytes) -> int:
    at = HEADER_BYTES
    while length := data[at]:
        if length > 63:
            raise _Malformed
        at += 1 + length
    if at >= HEADER_BYTES + _NAME_BYTES:
        raise _Malformed
    return at + 1


def _skip_record(data: bytes, at: int) -> tuple[int, int]:
    """Return where a record ends, and its type."""
    at = end_of_name(data, at)
    kind, _, _, length = _RECORD.unpack_from(data, at)
    at += _RECORD.size + length
    if at > len(data):
        raise _Malformed
    return at, kind
