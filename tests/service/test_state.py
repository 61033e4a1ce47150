"""The view changes only after the store said yes; the journal remembers only so much."""

from __future__ import annotations

import pytest

from netplug.errors import StoreUnavailable
from netplug.model import HostFacts
from netplug.service.journal import Journal
from netplug.service.state import State
from netplug.store.memory import Disk, MemoryStore
from tests.service.world import SetClock, World, network, refuse_commits

KEPT = 1000


async def test_loaded_for_the_first_time_makes_an_identity_that_stays() -> None:
    disk = Disk()
    store = MemoryStore(disk)
    first = (await State.loaded(store)).view.host
    await store.close()

    again = (await State.loaded(MemoryStore(disk))).view.host

    assert again == first
    assert first.ula.prefixlen == 48
    assert str(first.ula).startswith("fd")
    assert len(first.instance) == 8


async def test_loaded_for_two_hosts_makes_two_identities() -> None:
    one = await State.loaded(MemoryStore(Disk()))
    other = await State.loaded(MemoryStore(Disk()))

    assert one.view.host != other.view.host


async def test_commit_that_fails_leaves_the_view_as_it_was(world: World) -> None:
    before = world.state.view
    world.store.before_commit = refuse_commits(0)

    with pytest.raises(StoreUnavailable):
        await world.state.commit(puts=(network(1),))

    assert world.state.view is before


async def test_commit_publishes_a_new_view_and_leaves_the_old_one_alone(world: World) -> None:
    before = world.state.view

    await world.state.commit(puts=(network(1),))

    assert before.networks == {}
    assert set(world.state.view.networks) == {network(1).id}


async def test_learn_of_the_same_facts_keeps_the_view(world: World) -> None:
    before = world.state.view

    world.state.learn(HostFacts())
    assert world.state.view is before
    world.state.learn(HostFacts(has_ipv6=False))

    assert not world.state.view.facts.has_ipv6


async def test_synced_waits_for_what_was_begun_and_tries_again_what_failed(world: World) -> None:
    syncs: list[int] = []

    def fail_first() -> None:
        syncs.append(len(syncs))
        if len(syncs) == 1:
            raise StoreUnavailable("state.db", "the disk says no")

    world.store.before_sync = fail_first
    await world.state.synced()
    assert syncs == []

    world.state.sync_soon()
    with pytest.raises(StoreUnavailable):
        await world.state.synced()
    await world.state.synced()
    await world.state.synced()

    assert syncs == [0, 1]


def test_journal_keeps_the_last_events_only() -> None:
    journal = Journal(SetClock())

    for number in range(KEPT + 5):
        journal.note("test", f"event {number}")

    past = journal.past()
    assert len(past) == KEPT
    assert (past[0].message, past[-1].message) == ("event 5", f"event {KEPT + 4}")


def test_journal_gives_each_listener_what_happens_while_it_listens() -> None:
    journal = Journal(SetClock())
    journal.note("test", "before")

    with journal.listen() as one, journal.listen() as other:
        journal.note("test", "meanwhile", network="n", endpoint="e")
    journal.note("test", "after")

    assert (one.qsize(), other.qsize()) == (1, 1)
    event = one.get_nowait()
    assert event is not None
    assert (event.message, event.network, event.endpoint) == ("meanwhile", "n", "e")
    assert event.at == SetClock().now()


def test_journal_of_a_listener_that_does_not_read_drops_the_oldest() -> None:
    journal = Journal(SetClock())

    with journal.listen() as queue:
        for number in range(KEPT + 5):
            journal.note("test", f"event {number}")

    first = queue.get_nowait()
    assert first is not None
    assert first.message == "event 5"
    assert queue.qsize() == KEPT - 1


def test_journal_closed_tells_every_listener_even_one_that_lags() -> None:
    journal = Journal(SetClock())

    with journal.listen() as queue:
        for number in range(KEPT):
            journal.note("test", f"event {number}")
        journal.close()

    events = [queue.get_nowait() for _ in range(queue.qsize())]
    assert events[-1] is None
