"""What upstreams answered, kept for its TTL; longer, to be served stale, if none answers later.

Belongs to one client: who is root in a container can forge answers on its own loopback, and must
not do so for others. Source: RFC 2308 (negative answers), RFC 8767 (stale ones).
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from dataclasses import dataclass

from netplug.dns.wire import HEADER_BYTES, TC, Rcode, end_of_name, is_modest

ENTRIES = 1000
BYTES = 512 * 1024
STALE_S = 3600.0
STALE_TTL_S = 30
RETRY_S = 30.0  # a server that did not answer is not asked for a name again before

_LONGEST_S = 86400
_NEGATIVE_S = 30
_LOCAL_TTL_S = 600  # moby: daemon/libnetwork/resolver.go, respTTL; of names that only dockerd has
_OPT, _SOA = 41, 6
_RECORD = struct.Struct("!HHIH")
_TTL = struct.Struct("!I")


@dataclass(slots=True)
class Kept:
    """An answer without its id, where its TTLs are, and how long it is good for."""

    wire: bytes
    places: tuple[int, ...]
    born_s: float
    good_s: float
    retry_s: float = 0.0

    def aged(self, now_s: float) -> bytes:
        """Return the answer with its TTLs as they are now; those of a stale one are 30 s."""
        wire = bytearray(self.wire)
        age_s = int(now_s - self.born_s)
        is_stale = not self.is_fresh(now_s)
        for place in self.places:
            ttl_s = STALE_TTL_S if is_stale else max(0, _TTL.unpack_from(wire, place)[0] - age_s)
            _TTL.pack_into(wire, place, ttl_s)
        return bytes(wire)

    def is_fresh(self, now_s: float) -> bool:
        """Return whether its TTL is not over."""
        return now_s - self.born_s < self.good_s

    def is_of_use(self, now_s: float) -> bool:
        """Return whether it may still be served stale."""
        return now_s - self.born_s < self.good_s + STALE_S


class UpstreamCache:
    """Answers of upstreams to one client, by question; the longest unused go first."""

    __slots__ = ("_entries", "_size")

    def __init__(self) -> None:
        self._entries: OrderedDict[bytes, Kept] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes, now_s: float) -> Kept | None:
        """Return what is known, fresh or stale."""
        kept = self._entries.get(key)
        if kept is None:
            return None
        if not kept.is_of_use(now_s):
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return kept

    def put(self, key: bytes, wire: bytes, now_s: float, *, is_docker: bool) -> None:
        """Keep an answer, if it may be kept."""
        body = wire[2:]
        lifetime = _lifetime(wire, is_docker=is_docker) if is_modest(body) else None
        if lifetime is None:
            return
        good_s, places = lifetime
        self._drop(key)
        self._entries[key] = Kept(body, places, now_s, good_s)
        self._size += len(key) + len(wire)
        while len(self._entries) > ENTRIES or self._size > BYTES:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: bytes) -> None:
        kept = self._entries.pop(key, None)
        if kept is not None:
            self._size -= len(key) + len(kept.wire) + 2


def _lifetime(wire: bytes, *, is_docker: bool) -> tuple[float, tuple[int, ...]] | None:
    """Return how long an answer may be kept, and where its TTLs are, the id not counted."""
    rcode = wire[3] & 0xF
    if rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN) or wire[2] << 8 & TC:
        return None
    try:
        answers, places, ttls, soa_s = _walk(wire)
    except (ValueError, IndexError, struct.error):
        return None
    if rcode == Rcode.NXDOMAIN or not answers:
        if is_docker:  # it may have a container of that name the next moment
            return None
        name_end = end_of_name(wire, HEADER_BYTES)
        is_single_label = HEADER_BYTES + 1 + wire[HEADER_BYTES] + 1 >= name_end
        good_s = 0 if is_single_label else min(soa_s, _NEGATIVE_S)
    elif is_docker and all(ttl_s == _LOCAL_TTL_S for ttl_s in ttls):
        return None
    else:
        good_s = min([*ttls, _LONGEST_S])
    return (good_s, tuple(place - 2 for place in places)) if good_s > 0 else None


def _walk(wire: bytes) -> tuple[int, list[int], list[int], int]:
    """Return the number of answers, the places and values of TTLs, and what a SOA says."""
    _, _, questions, answers, authorities, others = struct.unpack_from("!HHHHHH", wire)
    if questions != 1:
        raise ValueError("it does not say what it answers")
    at = end_of_name(wire, HEADER_BYTES) + 4
    places, ttls, soa_s = [], [], 0
    for _ in range(answers + authorities + others):
        at = end_of_name(wire, at)
        kind, _, ttl_s, length = _RECORD.unpack_from(wire, at)
        end = at + _RECORD.size + length
        if end > len(wire):
            raise ValueError("a record ends outside of the message")
        if kind != _OPT:
            places.append(at + 4)
            ttls.append(ttl_s)
        if kind == _SOA and length >= 4:
            soa_s = min(ttl_s, _TTL.unpack_from(wire, end - 4)[0])
        at = end
    return answers, places, ttls, soa_s
