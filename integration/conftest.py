"""Fixtures that hand tests their hosts, engines and daemons, and take them back."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.kernel import full_kernel
from integration.lab import Daemon, Engine, Host, Lab, probes, snapshot, vm

HERE = Path(__file__).parent
LAST = "test_zz_machine_unchanged.py"
# A host, an engine and a daemon are up in two seconds; on a busy machine it may be thirty.
TEST_DEADLINE_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineHost:
    """A host with pynet and an engine running in it, and the image `pynet-box`."""

    host: Host
    engine: Engine
    pynet: Daemon


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--needing",
        action="append",
        metavar="THING",
        help="run only the tests that need this; may be given several times",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give engines time to start, and put the look back at the machine behind all others."""
    if chosen := config.getoption("needing", None):
        items[:] = [item for item in items if {*chosen} & {*needs(item)}]
    for item in items:
        if HERE in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_DEADLINE_S))
    items.sort(key=lambda item: item.path == HERE / LAST)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test by the name of the first thing it needs that is not here."""
    skip_without(*needs(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the ends of the logs of all hosts with the failure."""
    report = yield
    lab = getattr(item, "funcargs", {}).get("lab")
    if report.failed and lab is not None:
        for host in lab.open_hosts:
            report.sections.append((f"logs of {host.name}", host.logs()))
    return report


def needs(item: pytest.Item) -> list[str]:
    return [thing for marker in item.iter_markers("needs") for thing in marker.args]


def skip_without(*things: str) -> None:
    """Skip the running test, or all tests of the running fixture, where a thing is missing."""
    reason = probes.first_missing(*things)
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def machine_before() -> snapshot.Snapshot:
    """The machine before the first host was made."""
    skip_without(*probes.OF_A_LAB)
    return snapshot.take_first()


@pytest.fixture(scope="session")
def emulated(
    machine_before: snapshot.Snapshot, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[vm.Machine | None]:
    """The cases that need a full kernel, under way there; None where they cannot run."""
    machine = full_kernel.begin(tmp_path_factory.mktemp("vm"))
    yield machine
    if machine is not None:
        machine.stop()


@pytest.fixture(scope="session")
def lab(machine_before: snapshot.Snapshot, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The hosts of this session; `lab.host()` makes another.

    What takes minutes on a full kernel begins with the first host, beside all other tests.
    """
    if any("emulated" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("emulated")
    with Lab() as lab:
        yield lab


@pytest.fixture
def host(lab: Lab) -> Iterator[Host]:
    """A fresh host for one test."""
    host = lab.host()
    yield host
    host.close()


@pytest.fixture(scope="module")
def engine_host(lab: Lab) -> Iterator[EngineHost]:
    """A host with pynet and an engine, for all tests of a module."""
    skip_without(*probes.OF_AN_ENGINE)
    host = lab.host()
    try:
        running = EngineHost(host=host, engine=Engine(host), pynet=Daemon(host))
        running.pynet.start()
        running.engine.start()
        running.engine.image("pynet-box")
        yield running
    finally:
        host.close()
