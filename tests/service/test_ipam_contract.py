"""Pools and leases against a model, over stores that fail, and daemons that die or lose power.

The machine does what dockerd and operators do; whatever happens to the daemon, what is there is
what the model says, in the view and on the disk. `./runtests proof` tries 2000 examples, always
the same: a failure can be repeated.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import pytest
from hypothesis import seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from netplug.contract.ipam import AddressRequest, PoolRequest
from netplug.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    PoolExhausted,
    PynetError,
    StoreUnavailable,
)
from netplug.kernel.memory import MemoryKernel, Stopped
from netplug.model import (
    IPAddress,
    IPNetwork,
    Lease,
    LeaseKind,
    Pool,
    PoolId,
    Reached,
    Record,
    Way,
)
from tests.service.ipam_daemon import KEEP, RANGES_IPV4, RANGES_IPV6, started
from tests.service.ipam_media import Fate, FatefulStore, Medium, MemoryMedium, SqliteMedium
from tests.service.ipam_model import Model, Overlap, PoolModel, is_host, is_in_turn
from tests.service.ipam_wishes import (
    ASKERS,
    BESIDE,
    KINDS,
    PLACES,
    POOLS,
    Asker,
    Place,
    asked,
    automatic_pools,
    given_pools,
    odd_pools,
)
from tests.service.world import COOLDOWN_S, NOON, SetClock
from tests.store.loading import loaded

T = TypeVar("T")

UNKNOWN_POOL = Pool(
    id=PoolId("pynet-local/10.7.0.0/24"),
    space="pynet-local",
    network=ip_network("10.7.0.0/24"),
    created_at=NOON,
)
UNKNOWN = UNKNOWN_POOL.id
DAY_S = 86400.0
STEPS = 18


def outcome(act: Callable[[], T]) -> T | type[PynetError]:
    """What an act returns, or how it is refused."""
    try:
        return act()
    except (Conflict, InvalidRequest, NotFound, PoolExhausted, StoreUnavailable) as error:
        return type(error)


class Ipam(RuleBasedStateMachine):
    """A daemon, its disk, and the model; every rule does the same with both."""

    def __init__(self, loop: asyncio.AbstractEventLoop, medium: Medium) -> None:
        super().__init__()
        self.loop, self.medium = loop, medium
        self.kernel, self.clock = MemoryKernel(), SetClock()
        self.model = Model(ranges={4: RANGES_IPV4, 6: RANGES_IPV6})
        self.is_over = False
        self.start()

    def start(self) -> None:
        self.store = FatefulStore(self.run(self.medium.opened()))
        self.daemon = self.run(started(self.store, self.kernel, self.clock))
        self.model = self.model.rested()
        self.past = {self.store.written: self.model.copy()}

    def teardown(self) -> None:
        self.is_over = sys.exception() is None  # else hypothesis gave it up on the way
        self.run(self.store.close())
        self.medium.discard()

    def run(self, act: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await act

        return self.loop.run_until_complete(awaited())

    def does(
        self,
        act: Awaitable[object],
        modelled: Callable[[Model], object],
        *,
        is_durable: bool = True,
    ) -> None:
        """Let daemon and model do the same; a daemon that dies of it is started again.

        With `is_durable`, what was granted survives a power failure, and all from before.
        """
        after = self.model.copy()
        wanted = outcome(lambda: modelled(after))
        written, refused = self.store.written, self.store.refused
        try:
            got = outcome(lambda: self.run(act))
        except Stopped:
            assert not isinstance(wanted, type)
            self.comes_back(after if self.store.written > written else self.model)
            return
        if got is StoreUnavailable:
            assert self.store.refused > refused
        else:
            assert got == wanted
            self.model = after
        if is_durable and not isinstance(got, type):
            assert self.store.durable == self.store.written
        self.remember()

    def remember(self) -> None:
        """Note how it is now, for a power failure to come back to."""
        self.past[self.store.written] = self.model.copy()

    def comes_back(self, model: Model, lost: int = 0) -> None:
        self.run(self.medium.killed(self.store.store, lost))
        self.model = model
        self.start()

    @property
    def taken(self) -> list[IPNetwork]:
        beside_us = self.daemon.state.view.beside_us
        return [*self.kernel.routes, *(reached.network for reached in beside_us)]

    def pool_id(self, number: int) -> PoolId:
        """One of the pools, or hardly ever one that is not there."""
        known = sorted(self.model.pools)
        return known[number % len(known)] if known and number else UNKNOWN

    def address(self, pool_id: PoolId, place: Place) -> IPAddress:
        """One that is leased, or rests, or could be chosen, or is at or beyond an end."""
        whence, number = place
        known = self.model.pools.get(pool_id) or PoolModel(UNKNOWN_POOL)
        network = known.pool.network
        addresses: Sequence[IPAddress] = {
            "leased": sorted(known.leases),
            "kept": sorted({*known.kept, *known.resting}),
            "any": known.dynamic,
            "end": [network[0], network[-1], network[0] + 1, network[-1] + 1],
        }[whence] or known.dynamic
        return addresses[number % len(addresses)]

    # Pools

    @initialize(wishes=st.lists(given_pools(), min_size=1, max_size=2))
    def request_first_pools(self, wishes: list[PoolRequest]) -> None:
        for wish in wishes:
            self.request_pool(wish)

    @rule(wish=st.one_of(given_pools(), automatic_pools(), automatic_pools(), odd_pools()))
    def request_pool(self, wish: PoolRequest) -> None:
        self.does(
            self.daemon.addresses.request_pool(wish),
            lambda model: model.request_pool(wish, self.taken, self.clock.now()),
        )

    @rule(pool=POOLS, is_repeated=st.booleans())
    def release_pool(self, pool: int, is_repeated: bool) -> None:
        pool_id = self.pool_id(pool)
        for _ in range(1 + is_repeated):
            self.does(
                self.daemon.addresses.release_pool(pool_id),
                lambda model: model.release_pool(pool_id),
                is_durable=False,
            )

    @rule(network=st.sampled_from(BESIDE), is_routed=st.booleans())
    def something_beside_comes_or_goes(self, network: IPNetwork, is_routed: bool) -> None:
        state = self.daemon.state
        if is_routed:
            if self.kernel.routes.pop(network, None) is None:
                self.kernel.routes[network] = "eth0"
        else:
            told = state.view.beside_us ^ {Reached(network=network, way=Way.DOCKER)}
            state.learn_engine_subnets(frozenset(), told)

    # Addresses

    @rule(pool=POOLS, askers=st.lists(ASKERS, min_size=1, max_size=6))
    def request_addresses(self, pool: int, askers: list[Asker]) -> None:
        for asker in askers:
            self.request_address(asked(self.pool_id(pool), asker))

    @rule(pool=POOLS, wanted=st.lists(st.tuples(PLACES, ASKERS), min_size=1, max_size=3))
    def request_given_addresses(self, pool: int, wanted: list[tuple[Place, Asker]]) -> None:
        pool_id = self.pool_id(pool)
        for place, asker in wanted:
            address = self.address(pool_id, place)
            self.request_address(replace(asked(pool_id, asker), address=address))

    def request_address(self, wish: AddressRequest) -> None:
        self.does(
            self.daemon.addresses.request_address(wish),
            lambda model: model.request_address(wish, self.clock.now(), self.clock.monotonic_s()),
        )

    @rule(
        pool=POOLS,
        wanted=st.lists(PLACES, min_size=1, max_size=4),
        is_repeated=st.booleans(),
    )
    def release_addresses(self, pool: int, wanted: list[Place], is_repeated: bool) -> None:
        pool_id = self.pool_id(pool)
        addresses = [self.address(pool_id, place) for place in wanted]
        for address in addresses * (1 + is_repeated):
            self.does(
                self.daemon.addresses.release_address(pool_id, address),
                lambda model, a=address: model.release_address(pool_id, a, self.rests_until_s),
                is_durable=False,
            )

    @property
    def rests_until_s(self) -> float:
        return self.clock.monotonic_s() + COOLDOWN_S

    @precondition(lambda self: self.model.pools)
    @rule(
        pool=POOLS,
        place=PLACES,
        length=st.sampled_from([1, 1, 3]),
        note=st.sampled_from(["", "nas"]),
        is_given_back=st.booleans(),
    )
    def reserve(self, pool: int, place: Place, length: int, note: str, is_given_back: bool) -> None:
        pool_id = sorted(self.model.pools)[pool % len(self.model.pools)]
        first, network = self.address(pool_id, place), self.model.pools[pool_id].pool.network
        run = [first + n for n in range(length) if first + n in network]
        if not run:
            return
        text = str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}"
        reservations = self.daemon.reservations
        if is_given_back:
            self.does(
                addresses_of(reservations.unreserve(pool_id, [text])),
                lambda model: model.unreserve(pool_id, run),
            )
        else:
            self.does(
                addresses_of(reservations.reserve(pool_id, [text], note)),
                lambda model: model.reserve(pool_id, run, note, self.clock.now()),
            )

    @precondition(lambda self: self.model.pools)
    @rule(pool=POOLS, kinds=st.lists(KINDS, min_size=2, max_size=8), releases=st.integers(0, 2))
    def request_and_release_at_once(self, pool: int, kinds: list[LeaseKind], releases: int) -> None:
        """Callers that overlap, one of which a commit may fail or kill with all others."""
        self.clock.advance(0.001)  # so that no new lease is like one before
        known = self.model.pools[sorted(self.model.pools)[pool % len(self.model.pools)]]
        pool_id, addresses = known.pool.id, self.daemon.addresses
        gone = [a for a, lease in sorted(known.leases.items()) if not is_reserved(lease)][:releases]
        names = [f"job-{number}" if number % 3 else "" for number in range(len(kinds))]
        wishes = [asked(pool_id, (k, n, "")) for k, n in zip(kinds, names, strict=True)]
        told = self.run(
            gathered(
                *(addresses.release_address(pool_id, address) for address in gone),
                *(addresses.request_address(wish) for wish in wishes),
            )
        )
        overlap = Overlap(
            before=known,
            releases=list(zip(gone, told[: len(gone)], strict=True)),
            requests=list(zip(wishes, told[len(gone) :], strict=True)),
        )
        if has_died := bool(overlap.count(Stopped)):
            self.comes_back(self.model)
        view = self.daemon.state.view
        now = PoolModel(
            view.pools[pool_id],
            dict(view.leases_of(pool_id)),
            {sticky.address: sticky for sticky in view.sticky_of(pool_id)},
        )
        overlap.check(now)
        if not has_died:
            now.resting = known.resting | dict.fromkeys(overlap.released, self.rests_until_s)
        self.model.pools[pool_id] = now
        self.past = {self.store.written: self.model.copy()}

    # Days and disks

    @rule(seconds=st.sampled_from([COOLDOWN_S / 2, COOLDOWN_S / 2, COOLDOWN_S, DAY_S, 9 * DAY_S]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        if seconds >= DAY_S:
            self.does(
                self.daemon.addresses.refresh_kept(),
                lambda model: model.refresh_kept(KEEP, self.clock.now()),
                is_durable=False,
            )

    @rule(fate=st.sampled_from(Fate), after=st.integers(0, 3))
    def a_bad_day_comes(self, fate: Fate, after: int) -> None:
        self.store.arm(fate, after)

    @rule(end=st.sampled_from(["stop", "kill", "power", "power"]), lost=st.integers(0, 8))
    def begin_anew(self, end: str, lost: int) -> None:
        """Stop and start; a power failure loses what was not to be durable, or some of it."""
        store = self.store
        if end == "stop":
            self.run(store.close())
            self.start()
        elif end == "kill":
            self.comes_back(self.model)
        else:
            left = max(store.durable, min(self.past), store.written - lost)
            self.comes_back(self.past[left], lost=store.written - left)

    # What holds at any time

    @invariant()
    def view_and_disk_are_as_the_model_says(self) -> None:
        view, pools = self.daemon.state.view, self.model.pools
        assert dict(view.pools) == {i: known.pool for i, known in pools.items()}
        for pool_id, known in pools.items():
            book = view.leases_of(pool_id)
            assert dict(book) == known.leases
            assert {sticky.address: sticky for sticky in view.sticky_of(pool_id)} == known.kept
            for address in known.withheld(self.clock.monotonic_s()):
                number, free = int(address), book.drop(address)
                assert free.next_free(number, number, spares_withheld=True) is None
            kinds = Counter(lease.kind for lease in known.leases.values())
            assert [book.count(kind) for kind in LeaseKind] == [kinds[kind] for kind in LeaseKind]
        last = {4: view.host.cursor_ipv4, 6: view.host.cursor_ipv6}
        assert {v: n for v, n in last.items() if n} == self.model.last
        kept = self.run(loaded(self.store))
        leases = [lease for book in view.leases.values() for lease in book.values()]
        sticky = [one for book in view.sticky.values() for one in book]
        records: list[Record] = [view.host, *view.pools.values(), *leases, *sticky]
        assert len(kept) == len(records)
        assert set(kept) == set(records)

    @invariant()
    def addresses_are_where_they_may_be(self) -> None:
        view = self.daemon.state.view
        assert set(view.leases) <= set(view.pools)
        for pool_id, book in view.leases.items():
            pool = view.pools[pool_id]
            for lease in book.values():
                within = pool.sub_range if is_in_turn(lease) else None
                assert lease.address in (within or pool.network)
                assert is_host(lease.address, pool.network)
        for one in view.pools.values():
            for two in view.pools.values():
                may_share = one is two or one.space != two.space or is_foreign(one, two)
                assert may_share or not one.network.overlaps(two.network)


def is_foreign(one: Pool, two: Pool) -> bool:
    return one.network.version != two.network.version


def is_reserved(lease: Lease) -> bool:
    return lease.kind is LeaseKind.RESERVED


async def addresses_of(leases: Awaitable[tuple[Lease, ...]]) -> set[IPAddress]:
    return {lease.address for lease in await leases}


async def gathered(*acts: Awaitable[object]) -> list[object]:
    """Return what each comes to; a death is one, too, which asyncio would not catch."""

    async def caught(act: Awaitable[object]) -> object:
        try:
            return await act
        except (Stopped, PoolExhausted, StoreUnavailable) as outcome:
            return outcome

    return list(await asyncio.gather(*map(caught, acts)))


PARTS = {"sqlite-1": 1, "sqlite-2": 2, "sqlite-3": 3, "memory": 4}
"""The seed of each; they can run beside each other."""

IN_MEMORY = Path("/dev/shm")


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with asyncio.Runner() as runner:
        yield runner.get_loop()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder whose files are on no disk, where there is such a thing: syncing costs nothing."""
    if not IN_MEMORY.is_dir():
        yield tmp_path
        return
    with TemporaryDirectory(dir=IN_MEMORY, prefix="pynet-test-") as name:
        yield Path(name)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", PARTS)
def test_ipam_is_as_its_model_whatever_happens(
    loop: asyncio.AbstractEventLoop,
    folder: Path,
    part: str,
    record_property: Callable[[str, object], None],
) -> None:
    wanted = -(-settings.default.max_examples // len(PARTS))
    machines: list[Ipam] = []

    def machine() -> Ipam:
        own = folder / str(len(machines))
        machines.append(Ipam(loop, MemoryMedium() if part == "memory" else SqliteMedium(own)))
        return machines[-1]

    run_state_machine_as_test(
        seed(PARTS[part])(machine),
        settings=settings(max_examples=wanted, stateful_step_count=STEPS),
    )

    examples = sum(machine.is_over for machine in machines)
    record_property("examples", examples)
    assert examples >= wanted
