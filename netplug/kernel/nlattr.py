"""Netlink attributes as bytes: a type, a length, a value padded to four bytes.

Source: linux/netlink.h, struct nlattr.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

NLA_F_NESTED, NLA_TYPE_MASK = 0x8000, 0x3FFF

U16 = struct.Struct("=H")
U32 = struct.Struct("=I")

_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type


def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each attribute's type, without its flags, and its value."""
    at = 0
    while at + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < 4:
            return
        yield kind & NLA_TYPE_MASK, data[at + 4 : at + length]
        at += length + -length % 4


def text(value: str) -> bytes:
    """Return a string as the kernel reads it."""
    return value.encode() + b"\0"


def string(value: bytes | None) -> str | None:
    """Return a string as the kernel wrote it."""
    return None if value is None else value.split(b"\0", 1)[0].decode(errors="replace")


def number(value: bytes | None) -> int | None:
    """Return a number of 32 bits."""
    return None if value is None else int(U32.unpack(value)[0])
