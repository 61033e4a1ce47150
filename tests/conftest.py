"""What no test in this folder may do: start processes, speak netlink, sleep, block the loop."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import settings

ROOT = Path(__file__).parent.parent
Golden = Callable[[str, str], None]

settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=40)
settings.register_profile("thorough", settings.get_profile("repeatable"), max_examples=2000)
settings.load_profile("repeatable")

_PROCESS_EVENTS = frozenset(
    {"subprocess.Popen", "os.system", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec"}
)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell how many examples were tried, where a test says so."""
    tried: Counter[str] = Counter()
    for report in terminalreporter.getreports("passed"):
        tried[report.nodeid.partition("[")[0]] += dict(report.user_properties).get("examples", 0)
    for test, examples in (+tried).items():
        terminalreporter.write_line(f"{examples} examples of {test}")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite the files that golden texts are in"
    )


@pytest.fixture
def golden(pytestconfig: pytest.Config) -> Golden:
    """Compare text with a file, named from the root; with --update-golden, write the file."""

    def check(path: str, text: str) -> None:
        file = ROOT / path
        if pytestconfig.getoption("update_golden"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        kept = file.read_text() if file.exists() else ""
        assert text.splitlines() == kept.splitlines(), f"{path}: --update-golden rewrites it"

    return check


class OutOfBounds(BaseException):
    """A unit test reached for the host. No `except Exception` may hide it."""


class _Fence:
    """An audit hook: it sees every way to a process or a socket, and it cannot be taken out."""

    is_up = False

    def __call__(self, event: str, args: tuple[object, ...]) -> None:
        if not self.is_up:
            return
        if event in _PROCESS_EVENTS:
            raise OutOfBounds(f"{event}: tests/ start no processes; integration/ may")
        if event == "socket.__new__" and args[1] == socket.AF_NETLINK:
            raise OutOfBounds("AF_NETLINK: tests/ use the memory kernel; integration/ the real one")


@pytest.fixture(scope="session")
def _fence() -> _Fence:
    fence = _Fence()
    sys.addaudithook(fence)
    return fence


@pytest.fixture(autouse=True)
def _no_processes_no_netlink(_fence: _Fence) -> Iterator[None]:
    _fence.is_up = True
    yield
    _fence.is_up = False


@pytest.fixture(autouse=True)
def _no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    yield_once = asyncio.sleep

    def refuse(delay_s: float) -> None:
        raise OutOfBounds(f"time.sleep({delay_s}): wait for an event, or set the clock")

    async def refuse_unless_zero(delay: float, result: object = None) -> object:
        if delay > 0:
            raise OutOfBounds(f"asyncio.sleep({delay}): wait for an event, or set the clock")
        return await yield_once(0, result)

    monkeypatch.setattr(time, "sleep", refuse)
    monkeypatch.setattr(asyncio, "sleep", refuse_unless_zero)


@pytest.fixture(scope="session", autouse=True)
def _no_blocking() -> Iterator[None]:
    """Fail a blocking call of our own code on the loop; what a test itself does is its business.

    Once for all tests: setting it up takes 4 ms.
    """
    with blockbuster_ctx(scanned_modules=["netplug", "ipam", "drivers"]):
        yield
