"""Forms that the kernel lacks, and forms that it cannot make now."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import pytest

from netplug.errors import DeadlineExceeded, KernelRefused, Unsupported
from netplug.kernel import netns, sandboxforms
from netplug.kernel.firewall import texts
from netplug.kernel.firewall.image import NFPROTO_INET, NFPROTO_NETDEV, Image
from netplug.kernel.firewall.nft import refused
from netplug.kernel.firewall.sandboxed import table_of
from netplug.kernel.sandboxforms import SandboxForms
from netplug.plan.objects import SandboxFilter

T = TypeVar("T")

WISH = SandboxFilter(link="pyp1", netns="", mac="02:42:0a:09:00:02", guards=True, ports=frozenset())
RULE = "/dev/stdin:9:1-3: Error: Could not process rule: "


class Nft:
    """Makes what it is told to, unless a text about the guard is to be refused."""

    def __init__(self) -> None:
        self.refusal: Exception | None = None

    def run(self, text: str) -> None:
        if self.refusal is not None and "netdev" in text:
            raise self.refusal

    async def fork(self, path: str, text: str) -> None:
        self.run(text)


@pytest.fixture
def nft(monkeypatch: pytest.MonkeyPatch) -> Nft:
    nft = Nft()
    monkeypatch.setattr(texts, "run", nft.run)
    monkeypatch.setattr(texts, "fork", nft.fork)
    monkeypatch.setattr(netns, "apart", lambda _: answer(lambda: os.open("/", os.O_PATH)))
    monkeypatch.setattr(netns, "inside", lambda _, work: answer(work))
    monkeypatch.setattr(sandboxforms, "_read", form_of)
    return nft


@pytest.fixture
async def forms(nft: Nft) -> AsyncIterator[SandboxForms]:
    forms = SandboxForms()
    yield forms
    await forms.close()


def answer(work: Callable[[], T]) -> asyncio.Future[T]:
    result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    try:
        result.set_result(work())
    except (KernelRefused, Unsupported, OSError) as error:
        result.set_exception(error)
    return result


def form_of(sample: SandboxFilter) -> Image:
    number, name = table_of(sample)
    return Image(family=number, name=name, what=b"", chains=(), sets=(), rules=())


async def families(forms: SandboxForms) -> list[int]:
    return [form.family for form in await forms.of(WISH)]


@pytest.mark.parametrize(
    "reason",
    [
        RULE + os.strerror(errno.EOPNOTSUPP),
        RULE + os.strerror(errno.ENOENT),
        "/dev/stdin:2:41-46: Error: unknown chain hook",
        "/dev/stdin:2:41-46: Error: The netdev family does not support this hook",
        "/dev/stdin:3:24-24: Error: syntax error, unexpected newline",
        "nsenter: failed to execute nft: No such file or directory",
    ],
)
async def test_guard_that_the_kernel_or_nft_lacks_is_left_out_and_not_tried_again(
    nft: Nft, forms: SandboxForms, reason: str
) -> None:
    nft.refusal = refused(reason)
    assert await families(forms) == [NFPROTO_INET]

    nft.refusal = None
    assert await families(forms) == [NFPROTO_INET]


async def test_guard_without_nft_is_left_out(nft: Nft, forms: SandboxForms) -> None:
    nft.refusal = Unsupported("nft", "the program is not installed")

    assert await families(forms) == [NFPROTO_INET]


@pytest.mark.parametrize(
    "refusal",
    [
        *(
            refused(RULE + os.strerror(code))
            for code in (errno.ENOMEM, errno.EMFILE, errno.ENOBUFS, errno.EAGAIN)
        ),
        refused("internal:0:0-0: Error: cache initialization failed: Cannot allocate memory"),
        refused(RULE + "Unknown error 512"),
        refused("nsenter: failed to execute nft: Cannot allocate memory"),
        refused("exit status 1"),
        DeadlineExceeded("nsenter", 10.0),
    ],
    ids=str,
)
async def test_guard_that_cannot_be_made_now_is_made_the_next_time(
    nft: Nft, forms: SandboxForms, refusal: KernelRefused | DeadlineExceeded
) -> None:
    nft.refusal = refusal
    with pytest.raises(type(refusal)):
        await forms.of(WISH)

    nft.refusal = None
    assert await families(forms) == [NFPROTO_NETDEV, NFPROTO_INET]


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (RULE + "Operation not supported", errno.EOPNOTSUPP),
        (RULE + "No such device or address", errno.ENXIO),
        (RULE + "Cannot allocate memory / add table / Error: File exists", errno.ENOMEM),
        ("Error: syntax error, unexpected newline", 0),
    ],
)
def test_refusal_has_the_errno_that_nft_names_first(reason: str, code: int) -> None:
    assert refused(reason).code == code
