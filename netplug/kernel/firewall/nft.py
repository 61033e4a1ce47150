"""nftables through its own library, in this process: 0.07 ms a change, where a fork takes 3.

    nft = Nft()
    await nft.open()
    await nft.run("add element ip pynet any_ports { tcp . 80 : 10.0.0.2 . 8080 }")

A text is one transaction: all of it happens or none. Where the library is missing, `nft` is run.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import TypeVar

from netplug.errors import DeadlineExceeded, KernelRefused
from netplug.kernel import proc
from netplug.kernel.firewall.batch import Batch
from netplug.kernel.firewall.glance import Generation
from netplug.kernel.firewall.netfilter import open_socket

Answer = TypeVar("Answer")

_LIBRARY = "libnftables.so.1"
# NFT_CTX_OUTPUT_JSON; NFT_CTX_OUTPUT_TERSE and NFT_CTX_OUTPUT_STATELESS: nftables/libnftables.h
_OUTPUT_JSON = 1 << 4
_OUTPUT_TERSE = 1 << 11 | 1 << 2
_SHORT_BYTES = 4096  # some 50 elements, 2 ms
_CODES = {os.strerror(code): code for code in errno.errorcode}


class Nft:
    """nftables of the network namespace in which `open` is called.

    The library keeps a socket and serves one caller at a time. A short change is made where it is
    asked for, 0.05 ms, unless the library is busy: handing it to a thread costs four times that.
    What takes long, or waits for somebody, is for the thread.
    `commits` are the changes that were made here, so that those of others can be told apart.
    """

    def __init__(self) -> None:
        self.commits = 0
        self._generation = Generation()
        self._library: Library | None = None
        self._elements: socket.socket | None = None
        self._is_busy = Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="nft")

    async def open(self) -> None:
        """Load the library; without it, every change forks."""
        self._generation.open()
        self._elements = open_socket()
        try:
            self._library = await self._on_thread(Library)
        except OSError:
            self._library = None

    async def close(self) -> None:
        """End the thread."""
        if self._library is not None:
            await self._on_thread(self._library.close)
        if self._elements is not None:
            self._elements.close()
        self._library = self._elements = None
        self._thread.shutdown(wait=False)
        self._generation.close()

    async def run(self, text: str, *, is_json: bool = False, is_terse: bool = False) -> str:
        """Run the commands of `text` as one transaction and return what they print.

        `is_terse` leaves out the elements of sets and maps, and counters.

        Raises:
            KernelRefused: nothing was changed; the reason is nft's, `code` its errno where known.
            Unsupported: there is neither the library nor the program.
            DeadlineExceeded: the kernel does not answer.
        """
        library = self._library
        if library is None:
            switches = [*(["-j"] if is_json else []), *(["-t", "-s"] if is_terse else [])]
            argv = ["nft", *switches, "-f", "-"]
            with self._counted():
                try:
                    return await proc.run(argv, stdin=text)
                except KernelRefused as error:
                    raise refused(error.reason) from error
        flags = (_OUTPUT_JSON if is_json else 0) | (_OUTPUT_TERSE if is_terse else 0)
        is_short = not flags and len(text) <= _SHORT_BYTES
        if is_short and self._is_busy.acquire(blocking=False):
            try:
                has_failed, printed, reason = self._counted_run(library, text, flags)
            finally:
                self._is_busy.release()
        else:
            call = partial(self._wait_and_run, library, text, flags)
            has_failed, printed, reason = await self._on_thread(call)
        if has_failed:
            raise refused(reason)
        return printed

    async def change(self, batch: Batch) -> None:
        """Make the changes of `batch`, all of them or none; without the library, 0.01 ms.

        Raises:
            KernelRefused: nothing was changed; `code` is the kernel's errno.
        """
        if self._is_busy.acquire(blocking=False):
            try:
                self._counted_send(batch)
            finally:
                self._is_busy.release()
        else:
            await self._on_thread(partial(self._wait_and_send, batch))

    def _wait_and_send(self, batch: Batch) -> None:
        with self._is_busy:
            self._counted_send(batch)

    def _counted_send(self, batch: Batch) -> None:
        if self._elements is None:
            raise KernelRefused("change nftables", "not open", errno.EBADF)
        with self._counted():
            batch.send(self._elements)

    def _wait_and_run(self, library: Library, text: str, flags: int) -> tuple[bool, str, str]:
        with self._is_busy:
            return self._counted_run(library, text, flags)

    def _counted_run(self, library: Library, text: str, flags: int) -> tuple[bool, str, str]:
        if flags:  # a listing: what moves meanwhile is somebody else's
            return library.run(text, flags)
        with self._counted():
            return library.run(text, flags)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count one commit if the generation moved: a refusal moves nothing."""
        before = self._generation.number()
        try:
            yield
        finally:
            self.commits += self._generation.number() != before

    async def _on_thread(self, call: Callable[[], Answer]) -> Answer:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(proc.DEADLINE_S):
                return await loop.run_in_executor(self._thread, call)
        except TimeoutError as error:
            raise DeadlineExceeded("nftables", proc.DEADLINE_S) from error


class Library:
    """One context of libnftables: its text goes in, its text comes out.

    Source: libnftables(3).
    """

    def __init__(self) -> None:
        self._c = c = ctypes.CDLL(_LIBRARY)
        pointer, text = ctypes.c_void_p, ctypes.c_char_p
        for name, result, arguments in (
            ("nft_ctx_new", pointer, [ctypes.c_uint32]),
            ("nft_ctx_free", None, [pointer]),
            ("nft_ctx_buffer_output", ctypes.c_int, [pointer]),
            ("nft_ctx_buffer_error", ctypes.c_int, [pointer]),
            ("nft_ctx_get_output_buffer", text, [pointer]),
            ("nft_ctx_get_error_buffer", text, [pointer]),
            ("nft_ctx_output_set_flags", None, [pointer, ctypes.c_uint]),
            ("nft_run_cmd_from_buffer", ctypes.c_int, [pointer, text]),
        ):
            function = getattr(c, name)
            function.restype, function.argtypes = result, arguments
        self._context = c.nft_ctx_new(0)
        c.nft_ctx_buffer_output(self._context)
        c.nft_ctx_buffer_error(self._context)

    def run(self, text: str, flags: int) -> tuple[bool, str, str]:
        """Run `text`; return whether it failed, what it printed, and what nft says of an error."""
        c = self._c
        c.nft_ctx_output_set_flags(self._context, flags)
        code = c.nft_run_cmd_from_buffer(self._context, text.encode())
        printed: bytes = c.nft_ctx_get_output_buffer(self._context)
        reason: bytes = c.nft_ctx_get_error_buffer(self._context)
        return bool(code), printed.decode(errors="replace"), reason.decode(errors="replace")

    def close(self) -> None:
        """Free the context."""
        self._c.nft_ctx_free(self._context)


def refused(reason: str) -> KernelRefused:
    """Return the error; nft says what and then shows the line, which nobody but us has written."""
    first = next((line for line in reason.splitlines() if "Error" in line), reason).strip()
    return KernelRefused("change nftables", first, _code_of(first))


def _code_of(reason: str) -> int:
    """Return the errno that is named first, 0 for none; some names begin with another."""
    named = [(reason.find(text), -len(text), code) for text, code in _CODES.items()]
    return min((one for one in named if one[0] >= 0), default=(0, 0, 0))[2]
