"""How options are read: words, numbers and flags of any driver, and every problem of them at once.

A driver's own keys are in its folder.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from enum import StrEnum
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any, TypeVar

from netplug import labels
from netplug.errors import InvalidOptions
from netplug.model import IPAddress

IFNAME_MAX = 15  # IFNAMSIZ less the terminating zero, linux/if.h
MTU_MIN_BYTES, MTU_MAX_BYTES = 68, 65535  # RFC 791; linux/if_bridge.c, br_dev_setup
MTU_MIN_IPV6_BYTES = 1280  # RFC 8200 section 5
TTL_MAX_S = 86400  # a day: resolvers rarely keep more

ENABLE_ICC = "com.docker.network.bridge.enable_icc"

_Word = TypeVar("_Word", bound=StrEnum)

Reader = Callable[[str], object]
"""Returns the value of an option, or raises ValueError saying what is wanted."""

Keys = Mapping[str, tuple[str, Reader]]
"""The field that each key is for, and its reader."""


def spellings(readers: Mapping[str, tuple[str, str, Reader]]) -> Keys:
    """Return the keys of options given as plain name to Docker's key, field and reader.

    Docker's key is empty where it has none.
    """
    return {
        key: (field, read)
        for plain, (docker, field, read) in readers.items()
        for key in (plain, docker)
        if key
    }


def read(raw: Mapping[str, str], keys: Keys) -> dict[str, Any]:
    """Return the fields that `raw` gives.

    Raises:
        InvalidOptions: with every problem; an unknown key names the nearest valid one.
    """
    values, problems = gather(raw, keys)
    if problems:
        raise InvalidOptions(problems)
    return values


def gather(raw: Mapping[str, str], keys: Keys) -> tuple[dict[str, Any], list[str]]:
    """Return the fields that `raw` gives, and every problem of the others."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    given: dict[str, str] = {}
    for key, text in raw.items():
        if (entry := keys.get(key)) is None:
            problems.append(unknown_key(key, keys))
            continue
        field, reader = entry
        if given.setdefault(field, text) != text:
            problems.append(f"{key}={text!r} contradicts {given[field]!r}, given under another key")
            continue
        try:
            values[field] = reader(text)
        except ValueError as error:
            problems.append(f"{key}={text!r}: {error}")
    return values, problems


def read_endpoint(raw: Mapping[str, str], keys: Keys) -> dict[str, Any]:
    """Return the fields that `raw`, the `--driver-opt` of an endpoint, gives.

    Docker's own are passed over: dockerd acts on them itself.

    Raises:
        InvalidOptions: with every problem; an unknown key names the nearest valid one.
    """
    asked = {k: text for k, text in raw.items() if not k.startswith(labels.ENDPOINT_PREFIX)}
    return read(asked, keys)


def unknown_key(key: str, known: Mapping[str, object]) -> str:
    """Return the sentence for a key that is not in `known`."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"unknown option {key!r}" + (f", did you mean {near[0]!r}?" if near else "")


def interface_name(text: str, longest: int = IFNAME_MAX) -> str:
    """Return `text` if the kernel takes it as an interface name.

    Raises:
        ValueError: saying why not.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.\-]+", text) or text in {".", ".."}:
        raise ValueError("an interface name has letters, digits, '-', '_' and '.'")
    if len(text) > longest:
        raise ValueError(f"at most {longest} characters")
    return text


def interface_prefix(text: str) -> str:
    """Read the beginning of an interface name: dockerd appends an index."""
    return interface_name(text, IFNAME_MAX - 3)


def mtu(text: str) -> int:
    """Read a number of bytes; 0 leaves the choice to pynet."""
    try:
        value = int(text)
    except ValueError:
        raise ValueError("a number of bytes is wanted") from None
    if value and not MTU_MIN_BYTES <= value <= MTU_MAX_BYTES:
        raise ValueError(f"an MTU lies between {MTU_MIN_BYTES} and {MTU_MAX_BYTES} bytes")
    return value


def flag(text: str) -> bool:
    """Read what Go's strconv.ParseBool takes, and "" for a bare `-o flag`."""
    match text.lower():
        case "" | "1" | "t" | "true":
            return True
        case "0" | "f" | "false":
            return False
        case _:
            raise ValueError("true or false is wanted")


def switch(text: str) -> bool:
    """Read "on", "off", or a flag."""
    match text.lower():
        case "on":
            return True
        case "off":
            return False
        case _:
            with suppress(ValueError):
                return flag(text)
            raise ValueError("on or off is wanted")


def overlap(text: str) -> bool:
    """Read whether a subnet may be in use elsewhere: "allow" or "refuse"."""
    match text.lower():
        case "allow":
            return True
        case "refuse":
            return False
        case _:
            raise ValueError("allow or refuse is wanted")


def one_of(words: Iterable[_Word]) -> Callable[[str], _Word]:
    """Return what reads one of `words`."""
    known = {str(word): word for word in words}

    def read_word(text: str) -> _Word:
        if text in known:
            return known[text]
        near = difflib.get_close_matches(text, known, n=1, cutoff=0.5)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise ValueError("one of " + ", ".join(known) + f" is wanted{hint}")

    return read_word


def ttl(text: str) -> int:
    """Read a number of seconds, up to a day."""
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(TTL_MAX_S))
    if not is_number or int(text) > TTL_MAX_S:
        raise ValueError(f"a number of seconds from 0 to {TTL_MAX_S} is wanted")
    return int(text)


def address(text: str) -> IPAddress:
    """Read an address of the host."""
    try:
        return ip_address(text)
    except ValueError:
        raise ValueError("an address of the host is wanted") from None


COMMON: Mapping[str, tuple[str, str, Reader]] = MappingProxyType(
    {
        "mtu": (labels.DRIVER_MTU, "mtu_bytes", mtu),
        "icc": (ENABLE_ICC, "has_icc", flag),
        "spoof_guard": ("", "guards_spoofing", switch),
        "dns_ttl": ("", "name_ttl_s", ttl),
        "overlap": ("", "may_overlap", overlap),
        "iface_prefix": (labels.CONTAINER_IFACE_PREFIX, "iface_prefix", interface_prefix),
    }
)
"""The options that every network has, whatever its driver."""
