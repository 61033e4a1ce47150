"""Many datagrams by one system call, each way: recvmmsg(2) and sendmmsg(2), through ctypes.

Where each datagram has its own two calls, these are more than half of what a kept answer costs.
"""

from __future__ import annotations

import ctypes
import mmap
import socket
import struct

DATAGRAMS = 64
SLOT_BYTES = 4096

# As plain numbers: those of `socket` are enumerations, which take a microsecond to combine.
_DONTWAIT, _TRUNC = int(socket.MSG_DONTWAIT), int(socket.MSG_TRUNC)
_ASKER = struct.Struct("!2xH4s8x")  # linux/in.h, struct sockaddr_in: port and address


class _Buffer(ctypes.Structure):
    """Linux, struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """Linux, struct msghdr."""

    _fields_ = (
        ("asker", ctypes.c_void_p),
        ("asker_size", ctypes.c_uint32),
        ("buffers", ctypes.c_void_p),
        ("buffer_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_uint32),
    )


class _Message(ctypes.Structure):
    """Linux, struct mmsghdr: a message, and how many bytes came."""

    _fields_ = (("header", _Header), ("size", ctypes.c_uint32))


class Batch:
    """Slots for datagrams of an IPv4 socket, used by one socket at a time.

    An answer, without its id, is written over its question, behind the id: so it goes to whoever
    asked, and nothing else has to be moved. Its size, id and all, goes to `answer_sizes`.

    Raises:
        AttributeError: libc does not have the calls.
    """

    def __init__(self) -> None:
        libc = ctypes.CDLL(None)
        # Without `argtypes`: a number is passed as an int, which is what they take.
        self._recvmmsg, self._sendmmsg = libc.recvmmsg, libc.sendmmsg
        self.slots = mmap.mmap(-1, DATAGRAMS * SLOT_BYTES)
        self._askers = mmap.mmap(-1, DATAGRAMS * _ASKER.size)
        self._buffers = [(_Buffer * DATAGRAMS)(), (_Buffer * DATAGRAMS)()]
        questions, answers = (self._messages(buffers) for buffers in self._buffers)
        self._questions = ctypes.byref(questions)
        self._answers = [
            ctypes.byref(answers, number * ctypes.sizeof(_Message)) for number in range(DATAGRAMS)
        ]
        words = memoryview(questions).cast("B").cast("I")
        step = ctypes.sizeof(_Message) // words.itemsize
        self._sizes = words[_Message.size.offset // words.itemsize :: step]
        self._flags = words[_Header.flags.offset // words.itemsize :: step]
        sizes = memoryview(self._buffers[1]).cast("B").cast("L")
        self.answer_sizes = sizes[1::2]

    def receive(self, fd: int, most: int) -> list[int]:
        """Fill the first slots with what is waiting; return the sizes, none if nothing is."""
        count = self._recvmmsg(fd, self._questions, most, _DONTWAIT, None)
        return self._sizes[:count].tolist() if count > 0 else []

    def send(self, fd: int, first: int, end: int) -> None:
        """Send the answers in some slots; what the socket does not take is lost."""
        while first < end:
            sent = self._sendmmsg(fd, self._answers[first], end - first, _DONTWAIT)
            first += max(sent, 0)
            if first < end:  # the call ends at an answer that cannot be sent: go on behind it
                first += 1

    def asker(self, number: int) -> tuple[str, int]:
        """Return where the datagram in a slot came from."""
        port, host = _ASKER.unpack_from(self._askers, number * _ASKER.size)
        return socket.inet_ntoa(host), port

    def is_cut(self, number: int) -> bool:
        """Return whether a datagram was longer than its slot."""
        return bool(self._flags[number] & _TRUNC)

    def _messages(self, buffers: ctypes.Array[_Buffer]) -> ctypes.Array[_Message]:
        """Return the messages of all slots, each with the one of these buffers that is its own."""
        slots, askers = _address(self.slots), _address(self._askers)
        messages = (_Message * DATAGRAMS)()
        for number, header in enumerate(message.header for message in messages):
            buffers[number].base = slots + number * SLOT_BYTES
            buffers[number].size = SLOT_BYTES
            header.asker = askers + number * _ASKER.size
            header.asker_size = _ASKER.size
            header.buffers = ctypes.addressof(buffers[number])
            header.buffer_count = 1
        return messages


def available() -> Batch | None:
    """Return the slots of this process, or None where libc does not have the calls."""
    try:
        return Batch()
    except AttributeError:
        return None


def _address(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))
