"""A CNAME of ours that leads to a name of others: ask them, and answer with both."""

from __future__ import annotations

import functools

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdata
import dns.rrset
from dns.rdataclass import IN
from dns.rdatatype import RdataType

from netplug.dns import wire
from netplug.dns.answer import Records, Reply
from netplug.dns.wire import HEADER_BYTES, STREAM_BYTES, Query, Rcode

_MANY = 64  # of those that wait for one answer the first has it made, and the others get the same


def asked_instead(query: Query, target: dns.name.Name) -> Query | None:
    """Return the same question about another name."""
    end = HEADER_BYTES + len(query.qname)
    data = query.data[:HEADER_BYTES] + (target.to_wire() or b"") + query.data[end:]
    parsed = wire.parse(data)
    return parsed if isinstance(parsed, Query) else None


def spliced(reply: Reply, query: Query, body: bytes | None, *, is_stream: bool) -> bytes:
    """Return our part of an answer and that of others, `body`, which has no id."""
    if body is None:
        return wire.refusal(query, Rcode.SERVFAIL)
    if not wire.is_modest(body):  # taking it apart takes 0.1 ms a record
        failed = wire.refusal(query, Rcode.SERVFAIL)
        return failed if is_stream else wire.truncated(query, int.from_bytes(body[:2]))
    limit = STREAM_BYTES if is_stream else query.limit
    both = _both(reply.answer, query.lower, query.kind, body, limit)
    if both is None:
        return wire.refusal(query, Rcode.SERVFAIL)
    if len(both) <= 2:
        return wire.truncated(query, int.from_bytes(both))
    return query.data[:2] + both[:10] + query.qname + both[10 + len(query.qname) :]


@functools.lru_cache(_MANY)
def _both(
    own: tuple[Records, ...], lower: bytes, kind: int, body: bytes, limit: int
) -> bytes | None:
    """Return an answer without its id, its flags alone if it is too long, None if it is broken."""
    try:
        message = dns.message.from_wire(bytes(2) + body, ignore_trailing=True)
        name, _ = dns.name.from_wire(lower, 0)
        message.question = [dns.rrset.RRset(name, IN, RdataType.make(kind))]
        message.answer = [_rrset(records) for records in own] + message.answer
        message.flags &= ~dns.flags.AA
        try:
            return message.to_wire(max_size=limit)[2:]
        except dns.exception.TooBig:
            return int(message.flags).to_bytes(2)
    except (dns.exception.DNSException, ValueError):
        return None


def _rrset(records: Records) -> dns.rrset.RRset:
    datas = [data for data in records.datas if isinstance(data, dns.rdata.Rdata)]
    rrset = dns.rrset.RRset(records.owner, IN, datas[0].rdtype)
    rrset.update_ttl(records.ttl_s)
    for data in datas:
        rrset.add(data)
    return rrset
