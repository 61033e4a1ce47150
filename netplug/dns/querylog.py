"""The latest questions and their answers, as bytes until somebody wants to see them."""

from __future__ import annotations

import struct
from collections import deque
from itertools import islice

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype

from netplug.contract.names import Source
from netplug.dns.client import Client

ENTRIES = 1000
RECORDS = 10  # of an answer that are shown
SHOWN_BYTES = 2048  # records of longer answers are not shown: parsing those takes up to 0.3 s
NOTED_BYTES = SHOWN_BYTES + 1  # of an answer are enough to see that it is longer

_COUNTS = struct.Struct("!HHH")  # of records; they are behind the flags and the count of questions
_COUNTS_AT = 4

# When, who, the question with its id, the answer without, where it is from, how long it took.
Entry = tuple[float, Client, bytes, bytes | None, Source, float]


class QueryLog:
    """A ring of entries. `note` is on the hot path: it is an append, and no more."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=ENTRIES)
        self.note = self._entries.append
        self._fresh = 0  # entries, perhaps more than there are

    def count(self, entries: int) -> None:
        """Tell that so many were noted."""
        self._fresh += entries

    def rewind(self) -> None:
        """Have all that are kept told again."""
        self._fresh = len(self._entries)

    def fresh(self, most: int) -> tuple[list[Entry], int]:
        """Return the latest entries not yet returned, `most` at most, and how many are lost."""
        count = min(self._fresh, most, len(self._entries))
        lost = self._fresh - count
        self._fresh = 0
        entries = [self._entries[i] for i in range(-count, 0)]
        return entries, lost


def described(entry: Entry) -> dict[str, object]:
    """Return an entry as it is told, but for its time."""
    _, client, query, answer, source, took_s = entry
    name, kind, rcode = "", "", ""
    records: list[str] = []
    try:
        question = dns.message.from_wire(query, ignore_trailing=True, question_only=True)
        if question.question:
            name = question.question[0].name.to_text(omit_final_dot=True)
            kind = dns.rdatatype.to_text(question.question[0].rdtype)
        if answer is not None:
            rcode = dns.rcode.to_text(dns.rcode.Rcode(answer[1] & 0xF))
            count = int.from_bytes(answer[4:6])
            if len(answer) > SHOWN_BYTES:
                records = [f"{count} records, not shown"]
            else:
                reply = dns.message.from_wire(query[:2] + _shortened(answer), ignore_trailing=True)
                rcode = dns.rcode.to_text(reply.rcode())
                records = _records(reply, count)
    except (dns.exception.DNSException, ValueError, AttributeError, IndexError, struct.error):
        pass
    return {
        "client_id": client.spec.id,
        "label": client.spec.label,
        "name": name,
        "kind": kind,
        "rcode": rcode,
        "source": source,
        "records": records,
        "took_s": took_s,
    }


def _shortened(answer: bytes) -> bytes:
    """Leave out what is not shown: parsing a record takes 0.1 ms."""
    counts = _COUNTS.unpack_from(answer, _COUNTS_AT)
    if sum(counts) <= RECORDS:
        return answer
    few = _COUNTS.pack(min(counts[0], RECORDS), 0, 0)
    return answer[:_COUNTS_AT] + few + answer[_COUNTS_AT + _COUNTS.size :]


def _records(reply: dns.message.Message, count: int) -> list[str]:
    datas = (data for rrset in reply.answer for data in rrset)
    shown = [data.to_text()[:200] for data in islice(datas, RECORDS)]
    return shown if count <= RECORDS else [*shown, f"{count - len(shown)} more"]
