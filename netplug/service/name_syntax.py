"""What can be a name, and what the values of a record; RFC 1035 sections 2.3 and 3.3, RFC 2782."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType

from netplug.model import RecordKind

WILDCARD = "*."

LONGEST_LABEL = 63  # RFC 1035 section 2.3.4

_LONGEST_NAME = 253  # the same, as text without the last dot
_LONGEST_STRING_BYTES = 255  # RFC 1035 section 3.3, <character-string>
_LONGEST_TEXT_BYTES = 2048  # a record has to fit into an answer
_LABEL = re.compile(r"[a-z0-9_-]+", re.IGNORECASE)


def name_problem(name: str) -> str:
    """Return why `name`, relative and perhaps with a `*.` in front, is none; empty if it is one."""
    labels = name.removeprefix(WILDCARD).split(".")
    if len(name) > _LONGEST_NAME:
        return f"a name has at most {_LONGEST_NAME} characters"
    for label in labels:
        if not label:
            return "a part of it is empty"
        if len(label) > LONGEST_LABEL:
            return f"a part of a name has at most {LONGEST_LABEL} characters"
        if not _LABEL.fullmatch(label):
            return f"{label!r} has something other than letters, digits, '-' and '_'"
    return ""


def is_name(name: str) -> bool:
    """Return whether `name` can be asked for, or be a wildcard."""
    return not name_problem(name)


def value_problem(kind: RecordKind, value: str) -> str:
    """Return why `value` is none of a record of this kind; empty if it is one."""
    return _PROBLEMS[kind](value)


def zone_text(kind: RecordKind, value: str) -> str:
    """Return a value as a zone file has it (RFC 1035 section 5.1), where only text differs."""
    if kind is not RecordKind.TXT:
        return value
    raw = value.encode()
    size = _LONGEST_STRING_BYTES
    pieces = [raw[start : start + size] for start in range(0, len(raw), size)] or [b""]
    return " ".join(f'"{_escaped(piece)}"' for piece in pieces)


def _escaped(piece: Iterable[int]) -> str:
    return "".join(
        f"\\{chr(byte)}"
        if byte in b'"\\'
        else chr(byte)
        if 0x20 <= byte <= 0x7E
        else f"\\{byte:03}"
        for byte in piece
    )


def _ipv4_problem(value: str) -> str:
    try:
        IPv4Address(value)
    except ValueError:
        return "an IPv4 address is wanted"
    return ""


def _ipv6_problem(value: str) -> str:
    try:
        address = IPv6Address(value)
    except ValueError:
        return "an IPv6 address is wanted"
    return "an address with a zone means nothing elsewhere" if address.scope_id else ""


def _target_problem(value: str) -> str:
    if value.startswith("*"):
        return "a target is one name, not a wildcard"
    return name_problem(value.removesuffix("."))


def _text_problem(value: str) -> str:
    if len(value.encode(errors="surrogatepass")) > _LONGEST_TEXT_BYTES:
        return f"a text has at most {_LONGEST_TEXT_BYTES} bytes"
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        return "it is no UTF-8"
    return ""


def _service_problem(value: str) -> str:
    *numbers, target = value.split(" ") if value else [""]
    if len(numbers) != 3 or not all(_is_uint16(number) for number in numbers):
        return "wanted are priority, weight, port and target, as in '0 0 5432 db'"
    return "" if target == "." else _target_problem(target)


def _is_uint16(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 0xFFFF


_PROBLEMS: Mapping[RecordKind, Callable[[str], str]] = MappingProxyType(
    {
        RecordKind.A: _ipv4_problem,
        RecordKind.AAAA: _ipv6_problem,
        RecordKind.CNAME: _target_problem,
        RecordKind.TXT: _text_problem,
        RecordKind.SRV: _service_problem,
    }
)
