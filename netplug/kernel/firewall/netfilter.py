"""The words of netfilter's netlink, as bytes: attributes, messages, a batch, an answer.

The kernel carries a request out inside send(2): what it answers is there when that returns.
Consent to a batch is silent.

Source: Linux include/uapi/linux/netfilter/nfnetlink.h; net/netfilter/nfnetlink.c,
nfnetlink_rcv_batch.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress

from netplug.errors import KernelRefused

# linux/netfilter/nf_tables.h: the messages
_NF_TABLES = 10
_SUBSYSTEM = _NF_TABLES << 8
NEW_TABLE, GET_TABLE, DELETE_TABLE = _SUBSYSTEM | 0, _SUBSYSTEM | 1, _SUBSYSTEM | 2
NEW_CHAIN, GET_CHAIN = _SUBSYSTEM | 3, _SUBSYSTEM | 4
NEW_RULE, GET_RULE = _SUBSYSTEM | 6, _SUBSYSTEM | 7
NEW_SET, GET_SET = _SUBSYSTEM | 9, _SUBSYSTEM | 10
NEW_ELEMENT, GET_ELEMENT, DELETE_ELEMENT = _SUBSYSTEM | 12, _SUBSYSTEM | 13, _SUBSYSTEM | 14

# linux/netlink.h, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND
EXCLUSIVE, CREATE, APPEND = 0x200, 0x400, 0x800

# linux/netlink.h, linux/netfilter/nfnetlink.h
_NETLINK_NETFILTER = 12
_REQUEST, _DUMP, _TORN = 0x001, 0x300, 0x10  # NLM_F_DUMP_INTR
_ERROR, _DONE = 2, 3
_BATCH_BEGIN, _BATCH_END = 16, 17
_NESTED, _TYPE = 0x8000, 0x3FFF  # NLA_F_NESTED, NLA_TYPE_MASK
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_FAMILY = struct.Struct("!BBH")  # struct nfgenmsg
_ATTRIBUTE = struct.Struct("=HH")
_BUFFER_BYTES = 65536
_DUMP_TRIES = 5
_PATIENCE = struct.pack("@ll", 1, 0)  # struct timeval: an answer that is not there never comes

Message = tuple[int, int, bytes]
"""Type, flags, and what follows the header."""


def open_socket() -> socket.socket:
    """Return a socket to netfilter of the caller's network namespace."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _PATIENCE)
    opened.bind((0, 0))
    return opened


def family(number: int, resource: int = 0) -> bytes:
    """Return what every message begins with: the family it is about."""
    return _FAMILY.pack(number, 0, resource)


def attribute(kind: int, value: bytes) -> bytes:
    """Return an attribute, filled up to four bytes."""
    text = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value
    return text.ljust((len(text) + 3) & ~3, b"\0")


def nested(kind: int, *values: bytes) -> bytes:
    """Return an attribute made of attributes."""
    return attribute(kind | _NESTED, b"".join(values))


def attributes(data: bytes) -> dict[int, bytes]:
    """Return the attributes that `data` is made of; of several of a kind, the last."""
    return dict(listed(data))


def listed(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the attributes that `data` is made of."""
    at, end = 0, len(data) - _ATTRIBUTE.size
    while at <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind & _TYPE, data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3


def commit(opened: socket.socket, messages: Iterable[Message]) -> None:
    """Make changes of nftables, all of them or none.

    Raises:
        KernelRefused: nothing was changed; `code` says why.
    """
    edge = family(0, _NF_TABLES)
    batch = [(_BATCH_BEGIN, 0, edge), *messages, (_BATCH_END, 0, edge)]
    try:
        opened.send(b"".join(_message(*message) for message in batch))
        code = _first_error(opened)
    except OSError as error:
        code = error.errno or errno.EIO
    if code:
        raise KernelRefused("change nftables", os.strerror(code), code)


def tell(opened: socket.socket, message: Message) -> None:
    """Send one message, no batch, that is not answered unless it is refused.

    Raises:
        OSError: the kernel refuses.
    """
    opened.send(_message(*message))
    if code := _first_error(opened):
        raise OSError(code, os.strerror(code))


def ask(opened: socket.socket, kind: int, body: bytes, *, is_dump: bool = False) -> list[bytes]:
    """Return the attributes of each message of the answer.

    A dump that a change has torn is asked for again.

    Raises:
        OSError: the kernel refuses, or says nothing; EINTR where changes do not end.
    """
    for _ in range(_DUMP_TRIES):
        opened.send(_message(kind, _DUMP if is_dump else 0, body))
        found, flags = _answer(opened, is_dump=is_dump)
        if not flags & _TORN:
            return found
    raise OSError(errno.EINTR, os.strerror(errno.EINTR))


def _answer(opened: socket.socket, *, is_dump: bool) -> tuple[list[bytes], int]:
    """Return the attributes of each message, and the flags of all of them."""
    found: list[bytes] = []
    seen = 0
    while True:
        for kind, flags, answer in _messages(opened.recv(_BUFFER_BYTES)):
            seen |= flags
            if kind in {_ERROR, _DONE}:
                if code := -int(struct.unpack_from("=i", answer)[0]):
                    raise OSError(code, os.strerror(code))
                return found, seen
            found.append(answer[_FAMILY.size :])
        if not is_dump:
            return found, seen


def _first_error(opened: socket.socket) -> int:
    """Return the first errno that is answered, 0 for none; leaves no answer behind."""
    found = 0
    with suppress(BlockingIOError):
        while data := opened.recv(_BUFFER_BYTES, socket.MSG_DONTWAIT):
            for kind, _, body in _messages(data):
                if kind == _ERROR and not found:
                    found = -int(struct.unpack_from("=i", body)[0])
    return found


def _messages(data: bytes) -> Iterator[Message]:
    while len(data) >= _HEADER.size:
        length, kind, flags, *_ = _HEADER.unpack_from(data)
        yield kind, flags, data[_HEADER.size : length]
        data = data[(length + 3) & ~3 :]


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags, 0, 0) + body
