"""A table of nftables as the kernel tells it: to be compared, and to be made again elsewhere.

    image = read(opened, NFPROTO_NETDEV, "pynet-sample")
    copy = image.copy("pynet-pyp1", device="eth0", elements={})
    put(opened, [copy], instead_of=[])

What libnftables makes of a text in a millisecond, beside what it reads of the system, is the same
wherever it is put: it is read once and then sent on. Whatever an image has is sent and compared;
what counts or numbers things is left out.

Source: Linux include/uapi/linux/netfilter/nf_tables.h; net/netfilter/nf_tables_api.c,
nf_tables_fill_chain_info and its like.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from netplug.errors import KernelRefused, Unsupported
from netplug.kernel.firewall.netfilter import (
    APPEND,
    CREATE,
    DELETE_TABLE,
    EXCLUSIVE,
    GET_CHAIN,
    GET_ELEMENT,
    GET_RULE,
    GET_SET,
    GET_TABLE,
    NEW_CHAIN,
    NEW_ELEMENT,
    NEW_RULE,
    NEW_SET,
    NEW_TABLE,
    Message,
    ask,
    attribute,
    attributes,
    commit,
    family,
    listed,
)

NFPROTO_INET, NFPROTO_NETDEV = 1, 5  # linux/netfilter.h

# linux/netfilter/nf_tables.h
_TABLE = 1  # the name of a table, in messages of each kind
_CHAIN_HOOK, _SET_NAME, _SET_ID, _OF_SET, _ELEMENTS = 4, 2, 10, 2, 3
_HOOK_NUMBER, _HOOK_PRIORITY, _HOOK_DEVICE, _HOOK_DEVICES, _DEVICE_NAME = 1, 2, 3, 4, 1
_LIST_ELEMENT, _KEY, _KEY_END, _DATA_VALUE = 1, 1, 10, 1

# What is kept of each, beside names and hooks.
_OF_TABLES = frozenset({2, 6})  # flags, user data
_OF_CHAINS = frozenset({3, 5, 7, 10})  # name, policy, type, flags
_OF_SETS = frozenset({3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 15, 17, 18})  # not: id, handle, count
_OF_RULES = frozenset({2, 4, 7})  # chain, expressions, user data
_OF_ELEMENTS = frozenset({1, 2, 3, 4, 6, 7, 9, 10, 11})  # not: when it expires
_MOST_BYTES = 32768  # of elements in a message: an attribute has 64 KiB at most


@dataclass(frozen=True, slots=True)
class Hook:
    """Where a chain begins, and at which devices."""

    number: bytes
    priority: bytes
    devices: tuple[bytes, ...]

    def encoded(self) -> bytes:
        """Return the attribute."""
        devices = b"".join(attribute(_DEVICE_NAME, name) for name in self.devices)
        found = attribute(_HOOK_NUMBER, self.number) + attribute(_HOOK_PRIORITY, self.priority)
        return attribute(
            _CHAIN_HOOK, found + (attribute(_HOOK_DEVICES, devices) if devices else b"")
        )


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain; without a hook it is jumped to."""

    what: bytes
    hook: Hook | None


@dataclass(frozen=True, slots=True)
class Set:
    """A set or a map, named or a rule's own, with its elements."""

    name: bytes
    what: bytes
    elements: frozenset[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A table: what is in it as attributes, without those of where it is."""

    family: int
    name: str
    what: bytes
    chains: tuple[Chain, ...]
    sets: tuple[Set, ...]
    rules: tuple[bytes, ...]

    def copy(
        self,
        name: str,
        *,
        device: str = "",
        elements: Mapping[str, frozenset[bytes]],
        values: Mapping[bytes, bytes] | None = None,
    ) -> Image:
        """Return the same by another name, with what its sets hold there.

        A chain that is bound to devices is bound to `device`; `values` replaces what rules compare
        with, byte by byte, each in one place.

        Raises:
            Unsupported: a value is not in the rules, or in several places: they would let pass
                what they are to stop.
        """
        rules = self.rules
        for old, new in (values or {}).items():
            if (count := sum(rule.count(old) for rule in self.rules)) != 1:
                reason = f"a value of its sample is in {count} places of the rules, not in one"
                raise Unsupported(f"table {name}", reason)
            rules = tuple(rule.replace(old, new) for rule in rules)
        held = {_text(key): value for key, value in elements.items()}
        return replace(
            self,
            name=name,
            chains=tuple(_bound(chain, _text(device)) for chain in self.chains),
            sets=tuple(
                Set(one.name, one.what, held[one.name]) if one.name in held else one
                for one in self.sets
            ),
            rules=rules,
        )

    def messages(self) -> list[Message]:
        """Return what makes the table; refused where it is there already.

        Nothing is deleted in vain, for the reason that `netplug.kernel.firewall.overlay` has.
        """
        start = _start(self.family, self.name)
        found = [(NEW_TABLE, CREATE | EXCLUSIVE, start + self.what)]
        for chain in self.chains:
            hook = chain.hook.encoded() if chain.hook else b""
            found.append((NEW_CHAIN, CREATE, start + chain.what + hook))
        for number, one in enumerate(self.sets, 1):
            name = start + attribute(_SET_NAME, one.name)
            number_of_it = attribute(_SET_ID, struct.pack("!I", number))
            found.append((NEW_SET, CREATE, name + one.what + number_of_it))
            lists = (name + attribute(_ELEMENTS, some) for some in _lists(one.elements))
            found += [(NEW_ELEMENT, CREATE, some) for some in lists]
        found += [(NEW_RULE, CREATE | APPEND, start + rule) for rule in self.rules]
        return found


def element(key: bytes, last: bytes = b"") -> bytes:
    """Return an element of a set, or all up to `last`, as an image has it."""
    found = attribute(_KEY, attribute(_DATA_VALUE, key))
    return found + (attribute(_KEY_END, attribute(_DATA_VALUE, last)) if last else b"")


def put(
    opened: socket.socket, images: Collection[Image], *, instead_of: Iterable[tuple[int, str]]
) -> None:
    """Make tables in one transaction; if one is there, then `instead_of` those.

    Raises:
        KernelRefused: nothing was changed; `code` says why.
    """
    messages = [message for image in images for message in image.messages()]
    if not messages:
        return
    try:
        commit(opened, messages)
    except KernelRefused as error:
        if error.code != errno.EEXIST:
            raise
        commit(opened, [*_removal(opened, instead_of), *messages])


def remove(opened: socket.socket, tables: Iterable[tuple[int, str]]) -> None:
    """Remove tables in one transaction; those that are not there are fine.

    Raises:
        KernelRefused: nothing was changed; `code` says why.
    """
    if messages := _removal(opened, tables):
        commit(opened, messages)


def read(opened: socket.socket, number: int, name: str) -> Image | None:
    """Return a table; None where there is none.

    Raises:
        OSError: the kernel refuses.
    """
    if not (tables := _tables(opened, number, name)):
        return None
    start = _start(number, name)
    chains = ask(opened, GET_CHAIN, start, is_dump=True)
    sets = ask(opened, GET_SET, start, is_dump=True)
    rules = ask(opened, GET_RULE, start, is_dump=True)
    return Image(
        family=number,
        name=name,
        what=_kept(tables[0], _OF_TABLES),
        # of all tables, unlike sets and rules
        chains=tuple(_chain(one) for one in chains if attributes(one).get(_TABLE) == _text(name)),
        sets=tuple(_set(opened, start, one) for one in sets),
        rules=tuple(_kept(rule, _OF_RULES) for rule in rules),
    )


def _removal(opened: socket.socket, tables: Iterable[tuple[int, str]]) -> list[Message]:
    """Return what deletes those tables that are there, or are gone by then."""
    found: list[Message] = []
    for number, name in tables:
        if _tables(opened, number, name):
            start = _start(number, name)
            found += [(NEW_TABLE, CREATE, start), (DELETE_TABLE, 0, start)]
    return found


def _tables(opened: socket.socket, number: int, name: str) -> list[bytes]:
    try:
        return ask(opened, GET_TABLE, _start(number, name))
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        return []


def _chain(answer: bytes) -> Chain:
    hook = attributes(answer).get(_CHAIN_HOOK)
    return Chain(_kept(answer, _OF_CHAINS), _hook(hook) if hook else None)


def _hook(data: bytes) -> Hook:
    found = attributes(data)
    names = tuple(name for _, name in listed(found.get(_HOOK_DEVICES, b"")))
    return Hook(found[_HOOK_NUMBER], found[_HOOK_PRIORITY], names)


def _set(opened: socket.socket, start: bytes, answer: bytes) -> Set:
    name = attributes(answer)[_SET_NAME]
    listing = ask(opened, GET_ELEMENT, start + attribute(_OF_SET, name), is_dump=True)
    elements = (
        _kept(value, _OF_ELEMENTS)
        for part in listing
        for _, value in listed(attributes(part).get(_ELEMENTS, b""))
    )
    return Set(name, _kept(answer, _OF_SETS), frozenset(elements))


def _bound(chain: Chain, device: bytes) -> Chain:
    if chain.hook is None or not chain.hook.devices:
        return chain
    return Chain(chain.what, Hook(chain.hook.number, chain.hook.priority, (device,)))


def _lists(elements: frozenset[bytes]) -> list[bytes]:
    """Return elements in as few lists as messages can take."""
    found = [b""] if elements else []
    for one in sorted(elements):
        if len(found[-1]) > _MOST_BYTES:
            found.append(b"")
        found[-1] += attribute(_LIST_ELEMENT, one)
    return found


def _kept(data: bytes, kinds: frozenset[int]) -> bytes:
    """Return those attributes, in an order of their own."""
    return b"".join(attribute(kind, value) for kind, value in sorted(listed(data)) if kind in kinds)


def _start(number: int, name: str) -> bytes:
    return family(number) + attribute(_TABLE, _text(name))


def _text(value: str) -> bytes:
    return value.encode() + b"\0"
