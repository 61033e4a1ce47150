"""Texts for nftables in a namespace that a thread has entered, or a process of its own.

    printed, generation = await netns.inside(path, partial(run, ["list table inet filter"]))

Not here: the host's own namespace, whose context stays open (`netplug.kernel.firewall.nft`).
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing
from threading import Lock

from netplug.errors import KernelRefused
from netplug.kernel import proc
from netplug.kernel.firewall.glance import Generation
from netplug.kernel.firewall.nft import Library, refused

_one_at_a_time = Lock()  # libnftables numbers its sets by a counter that all contexts share


def run(texts: Collection[str]) -> tuple[str, int]:
    """Run each text as a transaction in the thread's namespace.

    Return what they print, and the generation of nftables before.

    Raises:
        OSError: there is no library.
        KernelRefused: a text is refused.
    """
    library = Library()
    try:
        found, before = "", generation()
        for text in texts:
            with _one_at_a_time:
                has_failed, printed, reason = library.run(text, 0)
            if has_failed:
                raise refused(reason)
            found += printed
    finally:
        library.close()
    return found, before


async def fork(entry: list[str], texts: Collection[str]) -> str:
    """Do the same without the library.

    Raises:
        KernelRefused: a text is refused.
        Unsupported: there is no nft either.
    """
    printed = ""
    for text in texts:
        try:
            printed += await proc.run([*entry, "nft", "-f", "-"], stdin=text)
        except KernelRefused as error:
            raise refused(error.reason) from error
    return printed


def generation() -> int:
    """Return the generation of nftables of the thread's namespace."""
    with closing(Generation()) as numbers:
        numbers.open()
        return numbers.number()
