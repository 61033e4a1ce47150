"""What the engine tells of a container that starts is passed on when the start is over."""

from __future__ import annotations

import pytest

from netplug.contract.engine import EngineEvent, ListedContainer
from netplug.engine.starts import Starts
from tests.engine.scripted import StillClock, about, connected, moved

NOBODY: frozenset[str] = frozenset()


def resting(container_id: str, clock: StillClock | None = None) -> Starts:
    """Return what knows of one container, which was created."""
    starts = Starts("pynet", clock or StillClock())
    starts.heard(about(container_id))
    starts.take_due()
    return starts


def passed(starts: Starts, *events: EngineEvent) -> list[EngineEvent]:
    for event in events:
        assert starts.heard(event) == ""
    return starts.take_due()


def listed(container_id: str, *, is_running: bool) -> ListedContainer:
    return ListedContainer(
        id=container_id,
        name="web",
        labels={},
        is_running=is_running,
        has_started=is_running,
        places=(),
    )


@pytest.mark.parametrize("action", ["start", "die", "destroy"])
def test_heard_of_a_container_at_rest_is_due_when_its_start_is_over(action: str) -> None:
    starts = resting("web")
    connections = [connected("front", "web"), connected("back", "web")]

    before, under_way = passed(starts, *connections), list(starts.under_way)
    over = about("web", action)

    assert (before, under_way) == ([], ["web"])
    assert passed(starts, over) == [*connections, over]
    assert not starts.under_way


def test_heard_of_a_start_that_fails_is_due_when_it_is_disconnected() -> None:
    starts = resting("web")
    connection, end = connected("front", "web"), moved("disconnect", "front", "web")

    assert passed(starts, connection, end) == [connection, end]
    assert not starts.under_way


@pytest.mark.parametrize("lived", [(), ("create", "start"), ("create", "destroy")])
def test_heard_of_a_container_that_may_be_running_is_due_at_once(lived: tuple[str, ...]) -> None:
    starts = Starts("pynet", StillClock())
    passed(starts, *(about("web", action) for action in lived))
    connection = connected("front", "web")

    assert passed(starts, connection) == [connection]


def test_heard_of_a_container_that_ended_is_due_when_it_starts_again() -> None:
    starts = Starts("pynet", StillClock())
    passed(starts, about("web", "start"), about("web", "die"))

    assert passed(starts, connected("front", "web")) == []


def test_heard_of_networks_of_other_drivers_is_due_at_once() -> None:
    starts = resting("web")
    connection = connected("lan", "web", driver="bridge")

    assert passed(starts, connection) == [connection]


def test_heard_of_others_is_due_while_one_starts() -> None:
    starts = resting("web")
    passed(starts, connected("front", "web"))
    others = [connected("front", "db"), about("db", "start")]

    assert passed(starts, *others) == others
    assert list(starts.under_way) == ["web"]


def test_a_start_that_takes_too_long_is_due_and_taken_for_over() -> None:
    clock = StillClock()
    starts = resting("web", clock)
    first, second = connected("front", "web"), connected("back", "web")
    passed(starts, first)
    clock.elapsed_s += 9.0

    assert (starts.take_due(), starts.patience_s) == ([], 1.0)
    clock.elapsed_s += 1.0
    assert (starts.take_due(), starts.patience_s) == ([first], None)
    assert passed(starts, second) == [second]


def test_listed_tells_who_is_at_rest() -> None:
    starts = resting("web")
    starts.listed([listed("web", is_running=True), listed("db", is_running=False)], besides=None)
    connection = connected("front", "web")

    assert passed(starts, connection, connected("front", "db")) == [connection]


@pytest.mark.parametrize(("besides", "is_held"), [(NOBODY, False), (frozenset({"web"}), True)])
def test_listed_without_a_container_forgets_it_unless_it_was_heard_of(
    besides: frozenset[str], is_held: bool
) -> None:
    starts = resting("web")
    starts.listed([], besides=besides)

    assert (passed(starts, connected("front", "web")) == []) is is_held


def test_lost_forgets_who_is_at_rest_and_what_was_heard_of_starts() -> None:
    starts = resting("web")
    passed(starts, connected("front", "web"))
    starts.lost(lambda: None)
    connection = connected("front", "web")

    assert passed(starts, connection) == [connection]
    assert not starts.under_way
