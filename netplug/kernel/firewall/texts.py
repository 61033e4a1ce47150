"""Texts for nftables in a namespace that a thread has entered, or a process of its own.

    await netns.inside(path, partial(run, "add table inet filter"))

Not here: the host's own namespace, whose context stays open (`netplug.kernel.firewall.nft`).
"""

from __future__ import annotations

from contextlib import closing
from threading import Lock

from netplug.errors import KernelRefused
from netplug.kernel import proc
from netplug.kernel.firewall.nft import Library, refused

_one_at_a_time = Lock()  # libnftables numbers its sets by a counter that all contexts share


def run(text: str) -> None:
    """Run a text as a transaction in the thread's namespace.

    Raises:
        OSError: there is no library.
        KernelRefused: the text is refused.
    """
    with closing(Library()) as library, _one_at_a_time:
        has_failed, _, reason = library.run(text, 0)
    if has_failed:
        raise refused(reason)


async def fork(path: str, text: str) -> None:
    """Do the same in the namespace at `path`, without the library.

    Raises:
        KernelRefused: the text is refused.
        Unsupported: there is no nft either.
    """
    try:
        await proc.run(["nsenter", f"--net={path}", "nft", "-f", "-"], stdin=text)
    except KernelRefused as error:
        raise refused(error.reason) from error
