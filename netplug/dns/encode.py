"""Replies to bytes. The only one that builds messages; what it builds is kept, in `scope`."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

import dns.name
import dns.rdata
from dns.rdataclass import IN

from netplug.dns.answer import Records, Reply
from netplug.dns.rdatas import Data, kind_of, text_of
from netplug.dns.wire import AA, CD, HEADER_BYTES, QR, RA, RD, TC, Query, opt

_ANSWER, _AUTHORITY, _ADDITIONAL = 1, 2, 3
# How long an A and an AAAA record are whose name is a pointer, by their type in wire form.
_ADDRESS_BYTES = {b"\0\x01": 16, b"\0\x1c": 28}
_POINTER = struct.Struct("!H")
_POINTS, _POINTS_TO = 0xC000, 0x4000
_RECORD = struct.Struct("!HHIH")
_ROTATIONS = 16  # that are kept


def encode(reply: Reply, query: Query, limit: int) -> list[bytes]:
    """Return a reply as bytes without its id, once for each rotation of its addresses.

    The name is in lower case, as in `query.lower`. What does not fit `limit` is left out, and TC is
    set where that matters.
    """
    tail = b"" if query.edns is None else opt(query)
    message = _Message(query, limit - len(tail))
    segment = (0, 0)
    is_whole = True
    for records in reply.answer:
        segment = (message.size, message.size)
        is_whole = is_whole and message.add(_ANSWER, records)
        segment = (segment[0], message.size)
    for records in reply.authority:
        is_whole = is_whole and message.add(_AUTHORITY, records)
    all(is_whole and message.add(_ADDITIONAL, records) for records in reply.additional)
    flags = QR | AA | RA | query.flags & (RD | CD) | reply.rcode | (0 if is_whole else TC)
    message.counts[_ADDITIONAL] += 1 if tail else 0
    return _rotations(message.finished(flags) + tail, segment)


class _Message:
    """A message that grows up to a limit."""

    def __init__(self, query: Query, limit: int) -> None:
        self.counts = [1, 0, 0, 0]
        self.size = 0
        self._limit = limit
        self._names: dict[dns.name.Name, int] = {}
        self._out = io.BytesIO()
        self._out.write(bytes(HEADER_BYTES))
        _name(query.lower).to_wire(self._out, self._names)
        self._out.write(struct.pack("!HH", query.kind, IN))
        self.size = self._out.tell()

    def add(self, section: int, records: Records) -> bool:
        """Add as many of the records as fit; return whether these are all."""
        owner = b""
        for data in records.datas:
            begin = self.size
            if owner:
                self._out.write(owner)
            else:
                records.owner.to_wire(self._out, self._names)
                owner = self._owner(begin)
            self._write(records.ttl_s, data)
            if self._out.tell() > self._limit:
                self._out.truncate(begin)
                self._out.seek(begin)
                return False
            self.size = self._out.tell()
            self.counts[section] += 1
        return True

    def finished(self, flags: int) -> bytes:
        """Return the message."""
        self._out.seek(0)
        self._out.write(struct.pack("!HHHHHH", 0, flags, *self.counts))
        return self._out.getvalue()

    def _owner(self, begin: int) -> bytes:
        """Return a pointer to the name that was just written, or the pointer that it is itself."""
        if self._out.tell() - begin == _POINTER.size:
            return self._out.getvalue()[begin:]
        return _POINTER.pack(_POINTS | begin) if begin < _POINTS_TO else b""

    def _write(self, ttl_s: int, data: Data) -> None:
        out = self._out
        if not isinstance(data, dns.rdata.Rdata):
            out.write(_RECORD.pack(kind_of(data), IN, ttl_s, len(data.packed)) + data.packed)
            return
        place = out.tell()
        out.write(_RECORD.pack(data.rdtype, IN, ttl_s, 0))
        data.to_wire(out, self._names)
        end = out.tell()
        out.seek(place + _RECORD.size - 2)
        out.write((end - place - _RECORD.size).to_bytes(2))
        out.seek(end)


def _rotations(wire: bytes, segment: tuple[int, int]) -> list[bytes]:
    """Rotate the records in a segment, which are all of one type, if they are addresses."""
    begin, end = segment
    length = _ADDRESS_BYTES.get(wire[begin + 2 : begin + 4], 0)
    if not length or wire[begin] < 0xC0 or end - begin <= length:
        return [wire[2:]]
    head, middle, tail = wire[2:begin], wire[begin:end], wire[end:]
    count = (end - begin) // length
    starts = range(0, count, -(-count // _ROTATIONS))
    return [head + middle[i * length :] + middle[: i * length] + tail for i in starts]


def _name(lower: bytes) -> dns.name.Name:
    labels: list[bytes] = []
    at = 0
    while length := lower[at]:
        labels.append(lower[at + 1 : at + 1 + length])
        at += 1 + length
    return dns.name.Name([*labels, b""])


def texts(sections: Sequence[Sequence[Records]]) -> tuple[str, ...]:
    """Return records as lines of a zone file."""
    return tuple(
        f"{records.owner} {records.ttl_s} IN {kind_of(data).name} {text_of(data)}"
        for section in sections
        for records in section
        for data in records.datas
    )
