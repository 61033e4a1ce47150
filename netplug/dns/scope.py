"""Answers as bytes, kept for all clients that have the same networks.

The hot path is one look into `Scope.datagrams`: from a datagram without its id to the answer
without its id. What an answer was made of is noted with it, so a change of one name forgets the
answers made of that name, and no others.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from netplug.dns.answer import Asker, order
from netplug.dns.zone import Touched, Zone
from netplug.model import NetworkId

Answers = Iterator[bytes]  # never ends: rotated from one to the next

SCOPE_ANSWERS = 16384
ALL_ANSWERS = 131072  # about 0.5 KB each with what is noted of them

_Key = tuple[bool, bytes]  # whether it is for streams, and the question


class Scope:
    """The answers of one set of networks."""

    __slots__ = ("_notes", "_uses", "asker", "datagrams", "ids", "streams", "users")

    def __init__(self, ids: tuple[NetworkId, ...], asker: Asker) -> None:
        self.ids = ids
        self.asker = asker
        self.users = 0
        self.datagrams: dict[bytes, Answers] = {}
        self.streams: dict[bytes, Answers] = {}
        self._notes: dict[_Key, frozenset[str]] = {}
        self._uses: dict[str, set[_Key]] = {}

    def __len__(self) -> int:
        return len(self._notes)

    def kept(self, *, is_stream: bool) -> dict[bytes, Answers]:
        """Return the answers for datagrams, or for streams, which have room for more."""
        return self.streams if is_stream else self.datagrams

    def keep(self, key: bytes, is_stream: bool, wires: Sequence[bytes], names: set[str]) -> Answers:
        """Keep an answer, made of what was found under `names`."""
        note = (is_stream, key)
        self.drop(note)
        answers = itertools.cycle(wires)
        self.kept(is_stream=is_stream)[key] = answers
        self._notes[note] = frozenset(names)
        for name in names:
            self._uses.setdefault(name, set()).add(note)
        return answers

    def forget(self, names: set[str]) -> int:
        """Forget the answers made of any of these names; return how many they were."""
        notes = {note for name in names for note in self._uses.get(name, ())}
        for note in notes:
            self.drop(note)
        return len(notes)

    def drop(self, note: _Key) -> None:
        """Forget one answer, if it is there."""
        names = self._notes.pop(note, None)
        if names is None:
            return
        is_stream, key = note
        self.kept(is_stream=is_stream).pop(key, None)
        for name in names:
            notes = self._uses[name]
            notes.discard(note)
            if not notes:
                del self._uses[name]

    def drop_oldest(self) -> None:
        """Forget the answer that was kept first."""
        self.drop(next(iter(self._notes)))

    def clear(self) -> None:
        """Forget all answers; the dictionaries stay the same ones."""
        self.datagrams.clear()
        self.streams.clear()
        self._notes.clear()
        self._uses.clear()


class Scopes:
    """All scopes, one for each set of networks that clients have."""

    def __init__(self, zone: Zone) -> None:
        self._zone = zone
        self._scopes: dict[tuple[bool, tuple[NetworkId, ...], frozenset[str]], Scope] = {}
        self._by_network: dict[NetworkId, set[Scope]] = {}
        self._host: set[Scope] = set()
        self._kept = 0

    def open(
        self, network_ids: Sequence[NetworkId], *, is_host: bool, left: Collection[str] = ()
    ) -> Scope:
        """Return the scope of these networks, or of all; `close` it after use.

        `left` are names that Docker is to answer.
        """
        ids = () if is_host else tuple(sorted(set(network_ids)))
        key = (is_host, ids, frozenset(left))
        scope = self._scopes.get(key)
        if scope is None:
            scope = Scope(ids, Asker(network_ids=(), is_host=is_host, left_to_docker=key[2]))
            self._scopes[key] = scope
            for network_id in ids:
                self._by_network.setdefault(network_id, set()).add(scope)
            if is_host:
                self._host.add(scope)
            self._reset(scope)
        scope.users += 1
        return scope

    def close(self, scope: Scope) -> None:
        """Let go of a scope; with its last user it is gone."""
        scope.users -= 1
        if scope.users:
            return
        self._kept -= len(scope)
        scope.clear()
        del self._scopes[(scope.asker.is_host, scope.ids, scope.asker.left_to_docker)]
        self._host.discard(scope)
        for network_id in scope.ids:
            scopes = self._by_network[network_id]
            scopes.discard(scope)
            if not scopes:
                del self._by_network[network_id]

    def asker(self, network_ids: Sequence[NetworkId]) -> Asker:
        """Return who has just these networks."""
        return Asker(network_ids=order(self._zone, network_ids))

    def keep(
        self, scope: Scope, key: bytes, is_stream: bool, wires: Sequence[bytes], names: set[str]
    ) -> Answers:
        """Keep an answer, and forget the scope's oldest where there are too many."""
        before = len(scope)
        answers = scope.keep(key, is_stream, wires, names)
        self._kept += len(scope) - before
        if len(scope) > SCOPE_ANSWERS or self._kept > ALL_ANSWERS:
            scope.drop_oldest()
            self._kept -= 1
        return answers

    def touch(self, touched: Touched) -> None:
        """Forget what a change made untrue."""
        reset: set[Scope] = set()
        for network_id in touched.networks:
            reset |= self._host | self._by_network.get(network_id, set())
        for scope in reset:
            self._reset(scope)
        for network_id, names in touched.names.items():
            for scope in (self._host | self._by_network.get(network_id, set())) - reset:
                self._kept -= scope.forget(names)

    def reset(self) -> None:
        """Forget everything that is kept."""
        for scope in self._scopes.values():
            self._reset(scope)

    def _reset(self, scope: Scope) -> None:
        self._kept -= len(scope)
        scope.clear()
        is_host = scope.asker.is_host
        ids = [network.id for network in self._zone.networks()] if is_host else scope.ids
        scope.asker = replace(scope.asker, network_ids=order(self._zone, ids))
