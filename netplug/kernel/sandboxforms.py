"""The tables of sandboxes as libnftables makes them: each form once, in a namespace of its own.

forms = SandboxForms()
tables = sandboxed.tables(await forms.of(wish), wish, name="eth0", index=7)
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial

from netplug.errors import KernelRefused, Unsupported
from netplug.kernel import netns
from netplug.kernel.firewall import sandboxed, texts
from netplug.kernel.firewall.image import Image, read
from netplug.kernel.firewall.netfilter import open_socket
from netplug.plan.objects import SandboxFilter

log = logging.getLogger(__name__)

_LACKING = frozenset(  # the kernel has no nf_tables, or not what the text is about
    {errno.EOPNOTSUPP, errno.ENOENT, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.EINVAL}
)


class SandboxForms:
    """What the rules are on this kernel, whatever the sandbox."""

    def __init__(self) -> None:
        self._made: dict[SandboxFilter, asyncio.Task[Image]] = {}
        self._has_library = True
        self._can_guard = True

    async def close(self) -> None:
        """Wait for what is being made."""
        if self._made:
            await asyncio.wait(self._made.values())

    async def of(self, wish: SandboxFilter) -> tuple[Image, ...]:
        """Return the form of each table that `wish` needs, as far as this kernel has it.

        It filters what a sandbox sends from Linux 5.16 on.

        Raises:
            Unsupported: the kernel has nothing of the kind, or there is no nft.
            KernelRefused: not now; the next one who asks may have it.
        """
        found = []
        for sample in sandboxed.samples(wish, can_guard=self._can_guard):
            try:
                found.append(await self._form(sample))
            except Unsupported as error:
                if not sample.guards:
                    raise
                self._guard_is_refused(error)
        return tuple(found)

    async def _form(self, sample: SandboxFilter) -> Image:
        task = self._made.get(sample)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = self._made[sample] = asyncio.create_task(self._make(sample))
        return await asyncio.shield(task)

    async def _make(self, sample: SandboxFilter) -> Image:
        namespace = await netns.apart(netns.here)
        try:
            path = f"/proc/{os.getpid()}/fd/{namespace}"
            await self._run(path, sandboxed.sample_text(sample))
            return await netns.inside(path, partial(_read, sample))
        finally:
            os.close(namespace)

    async def _run(self, path: str, text: str) -> None:
        if self._has_library:
            try:
                await netns.inside(path, partial(_run, text))
            except OSError:  # there is none
                self._has_library = False
            else:
                return
        with _refusals():
            await texts.fork(path, text)

    def _guard_is_refused(self, error: Exception) -> None:
        if self._can_guard:
            reason = {"reason": str(error)}
            log.warning("macvlan and ipvlan links are not kept from spoofing", extra=reason)
        self._can_guard = False


def _run(text: str) -> None:
    with _refusals():
        texts.run(text)


@contextmanager
def _refusals() -> Iterator[None]:
    """Tell what is refused for good from memory or a descriptor that is not to be had now."""
    try:
        yield
    except KernelRefused as error:
        if error.code in _LACKING or _is_own_word(error):
            raise Unsupported("rules in sandboxes", error.reason) from error
        raise


def _is_own_word(error: KernelRefused) -> bool:
    """Return whether nft does not understand the text: it says so without naming an errno."""
    return not error.code and "Error: " in error.reason and "process rule" not in error.reason


def _read(sample: SandboxFilter) -> Image:
    with closing(open_socket()) as opened:
        image = read(opened, *sandboxed.table_of(sample))
    if image is None:
        raise KernelRefused("read a table of nftables", "it is not there", errno.ENOENT)
    return image
