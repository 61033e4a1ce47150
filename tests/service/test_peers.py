"""Networks that may talk to each other: both or neither, whatever refuses in between."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import permutations

import pytest

from netplug.contract.store import Batch
from netplug.errors import Conflict, InvalidOptions, KernelRefused, NotFound, StoreUnavailable
from netplug.kernel.memory import fail_at
from netplug.model import Network
from netplug.plan.objects import PeerSubnet
from tests.service.world import World, messages, network, nothing_happens, refuse_commits

ONE, TWO, THREE = (network(n, f"10.{n}.0.1/24", f"fd0{n}::1/64") for n in (1, 2, 3))


@pytest.fixture
async def three(world: World) -> World:
    for made in (ONE, TWO, THREE):
        await world.networks.create(made)
    return world


def peers(world: World) -> set[tuple[str, str]]:
    """Who may send to whom, by the first digit of their ids."""
    networks = world.state.view.networks.values()
    return {(n.id[:1], peer[:1]) for n in networks for peer in n.peers}


def paths(world: World) -> set[tuple[str, str]]:
    return {(str(o.subnet), o.link) for o in world.built if isinstance(o, PeerSubnet)}


def both_ways(*pair: Network) -> set[tuple[str, str]]:
    return {
        (str(subnet.pool), f"py-{to.id[:12]}")
        for source, to in permutations(pair, 2)
        for subnet in source.subnets
    }


async def test_peer_opens_every_subnet_both_ways(three: World) -> None:
    await three.networks.peer(ONE, TWO)

    assert peers(three) == {("1", "2"), ("2", "1")}
    assert paths(three) == both_ways(ONE, TWO)
    assert not (await three.reconciler.verify()).differences
    assert messages(three)[-1] == "networks 100000000000 and 200000000000 are peers"


async def test_peer_survives_a_restart(three: World) -> None:
    await three.networks.peer(ONE, TWO)

    after = await three.restarted()

    assert peers(after) == {("1", "2"), ("2", "1")}
    assert after.reconciler.last is not None
    assert after.reconciler.last.steps == ()


async def test_peer_and_unpeer_are_one_durable_commit_each(three: World) -> None:
    batches: list[Batch] = []
    three.store.before_commit = batches.append  # type: ignore[assignment]

    await three.networks.peer(ONE, TWO)
    await three.networks.unpeer(ONE, TWO)

    assert [(len(b.puts), b.is_durable) for b in batches] == [(2, True), (2, True)]


async def test_peer_again_changes_nothing(three: World) -> None:
    await three.networks.peer(ONE, TWO)
    kept, built = three.kept, three.built

    await three.networks.peer(TWO, ONE)
    await three.networks.peer(ONE, TWO)

    assert (three.kept, three.built) == (kept, built)


async def test_unpeer_leaves_what_was_there_before(three: World) -> None:
    kept, built = three.kept, three.built
    await three.networks.peer(ONE, TWO)

    await three.networks.unpeer(TWO, ONE)

    assert (three.kept, three.built) == (kept, built)
    assert messages(three)[-1] == "networks 200000000000 and 100000000000 are parted"


async def test_unpeer_of_strangers_changes_nothing(three: World) -> None:
    kept, built = three.kept, three.built

    await three.networks.unpeer(ONE, TWO)

    assert (three.kept, three.built) == (kept, built)


async def test_unpeer_of_one_leaves_the_other_peer(three: World) -> None:
    await three.networks.peer(ONE, TWO)
    await three.networks.peer(ONE, THREE)

    await three.networks.unpeer(ONE, TWO)

    assert peers(three) == {("1", "3"), ("3", "1")}
    assert paths(three) == both_ways(ONE, THREE)


async def test_peer_of_itself_is_a_conflict(three: World) -> None:
    with pytest.raises(Conflict, match="network 100000000000 cannot be its own peer"):
        await three.networks.peer(ONE, ONE)


@pytest.mark.parametrize("is_first", [True, False])
async def test_peer_of_an_internal_network_is_a_conflict(three: World, is_first: bool) -> None:
    inner = replace(network(4), is_internal=True)
    await three.networks.create(inner)
    pair = (inner, ONE) if is_first else (ONE, inner)

    with pytest.raises(Conflict, match="network 400000000000 is internal and has no peers"):
        await three.networks.peer(*pair)

    assert peers(three) == set()


async def test_peer_of_a_network_of_another_driver_is_a_conflict(three: World) -> None:
    elsewhere = replace(three.state.view.networks[TWO.id], driver="macvlan")
    await three.state.commit(puts=(elsewhere,))

    with pytest.raises(Conflict, match="are of different drivers, bridge and macvlan"):
        await three.networks.peer(ONE, TWO)


async def test_peer_of_a_network_that_isolates_is_refused(three: World) -> None:
    apart = network(4, options=[("icc", "false")])
    await three.networks.create(apart)
    kept, built = three.kept, three.built

    with pytest.raises(InvalidOptions, match="keeps its endpoints apart"):
        await three.networks.peer(ONE, apart)

    assert (three.kept, three.built) == (kept, built)


async def test_peer_of_a_network_that_is_gone_says_so(three: World) -> None:
    await three.networks.delete(TWO.id)

    with pytest.raises(NotFound):
        await three.networks.peer(ONE, TWO)
    with pytest.raises(NotFound):
        await three.networks.unpeer(TWO, ONE)


async def test_peer_refused_at_any_step_leaves_nothing(three: World) -> None:
    kept, built = three.kept, three.built

    for number in range(4):
        three.kernel.before_step = fail_at(number)
        with pytest.raises(KernelRefused):
            await three.networks.peer(ONE, TWO)

        assert (three.kept, three.built) == (kept, built)


async def test_peer_that_cannot_be_recorded_leaves_nothing(three: World) -> None:
    kept, built = three.kept, three.built
    three.store.before_commit = refuse_commits(0)

    with pytest.raises(StoreUnavailable):
        await three.networks.peer(ONE, TWO)

    assert (three.kept, three.built) == (kept, built)
    assert peers(three) == set()


async def test_unpeer_goes_on_past_a_refusal_and_reconcile_ends_it(three: World) -> None:
    built = three.built
    await three.networks.peer(ONE, TWO)
    three.kernel.before_step = fail_at(1)

    await three.networks.unpeer(ONE, TWO)

    assert len(paths(three)) == 1
    three.kernel.before_step = nothing_happens
    await three.reconciler.run()
    assert three.built == built


async def test_delete_of_a_network_forgets_it_everywhere(three: World) -> None:
    for pair in ((ONE, TWO), (ONE, THREE), (TWO, THREE)):
        await three.networks.peer(*pair)
    batches: list[Batch] = []
    three.store.before_commit = batches.append  # type: ignore[assignment]

    await three.networks.delete(ONE.id)

    assert peers(three) == {("2", "3"), ("3", "2")}
    assert paths(three) == both_ways(TWO, THREE)
    assert len(batches) == 1
    assert not (await three.reconciler.verify()).differences


async def test_create_again_of_a_network_with_peers_changes_nothing(three: World) -> None:
    await three.networks.peer(ONE, TWO)
    kept = three.kept

    again = await three.networks.create(ONE)

    assert again.peers == (TWO.id,)
    assert three.kept == kept


async def test_all_pairs_at_once_and_a_delete_end_consistent(three: World) -> None:
    pairs = list(permutations((ONE, TWO, THREE), 2))

    outcomes = await asyncio.gather(
        *(three.networks.peer(a, b) for a, b in pairs),
        three.networks.delete(ONE.id),
        *(three.networks.unpeer(a, b) for a, b in pairs[:2]),
        three.networks.peer(TWO, THREE),
        return_exceptions=True,
    )

    assert {type(o) for o in outcomes} <= {type(None), NotFound}
    assert peers(three) == {("2", "3"), ("3", "2")}
    assert paths(three) == both_ways(TWO, THREE)
    assert not (await three.reconciler.verify()).differences
