"""The book of leases against a dict and a set: it answers the same, and what it was it stays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from netplug.leases import IPAddress, Lease, LeaseBook, LeaseKind, PoolId, Stickiness

POOL = PoolId("local/pool")
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
FAMILIES: tuple[type[IPv4Address] | type[IPv6Address], ...] = (IPv4Address, IPv6Address)

# Close together, at the borders of leaves and branches, and far apart.
IPV4 = st.one_of(
    st.integers(10 << 24, (10 << 24) + 200),
    st.sampled_from([0, 63, 64, 4095, 4096, 262143, 262144, (1 << 32) - 64, (1 << 32) - 1]),
    st.integers(0, (1 << 32) - 1),
)
IPV6 = st.one_of(
    st.integers(0xFD << 120, (0xFD << 120) + 200),
    st.sampled_from([0, 64, 1 << 32, (1 << 64) - 1, 1 << 64, (1 << 128) - 64, (1 << 128) - 1]),
    st.integers(0, (1 << 128) - 1),
)


def lease_of(
    address: IPAddress | str,
    kind: LeaseKind = LeaseKind.DYNAMIC,
    owner: str = "",
    created_at: datetime = NOON,
) -> Lease:
    return Lease(
        pool_id=POOL,
        address=ip_address(address),
        kind=kind,
        owner=owner,
        created_at=created_at,
    )


def test_a_lease_comes_back_as_it_was_until_the_end_of_time() -> None:
    latest = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    earliest = datetime(1, 1, 1, tzinfo=UTC)
    leases = [
        replace(lease_of(f"10.0.0.{number}", kind, "a", when), sticky=sticky)
        for number, (kind, sticky, when) in enumerate(
            product(LeaseKind, Stickiness, (earliest, latest))
        )
    ]

    assert list(book_of(leases).values()) == leases


def book_of(leases: Iterable[Lease]) -> LeaseBook:
    return LeaseBook(POOL).changed([(lease.address, lease) for lease in leases])


def full(network: int, size: int) -> LeaseBook:
    return book_of(lease_of(IPv4Address(network + n)) for n in range(size))


@dataclass
class Model:
    """What a book should say."""

    leases: dict[IPAddress, Lease] = field(default_factory=dict)
    withheld: set[IPAddress] = field(default_factory=set)

    def next_free(self, first: int, last: int, *, spares_withheld: bool) -> int | None:
        taken = {int(address) for address in self.leases}
        if spares_withheld:
            taken |= {int(address) for address in self.withheld}
        while first in taken:
            first += 1
        return first if first <= last else None


class Books(RuleBasedStateMachine):
    """One book and its model; each book that there was is looked at again after the next change."""

    @initialize(family=st.sampled_from(FAMILIES))
    def begin(self, family: type[IPv4Address] | type[IPv6Address]) -> None:
        self.family = family
        self.numbers = IPV4 if family is IPv4Address else IPV6
        self.model = Model()
        self.book = self.before = LeaseBook(POOL)
        self.held_before: list[Lease] = []

    def becomes(self, book: LeaseBook) -> None:
        assert list(self.before.values()) == self.held_before
        self.before, self.held_before = self.book, list(self.book.values())
        self.book = book

    def drawn(self, data: st.DataObject) -> IPAddress:
        """Draw an address, as often as not one that is leased or withheld, or next to one."""
        known = sorted(int(a) for a in (*self.model.leases, *self.model.withheld))
        near = st.sampled_from([n + d for n in known for d in (0, 1)] or [7])
        number = data.draw(st.one_of(near, self.numbers))
        return self.family(min(number, 2 ** self.family(0).max_prefixlen - 1))

    @rule(data=st.data(), kind=st.sampled_from(LeaseKind), owner=st.sampled_from(["", "db"]))
    def put(self, data: st.DataObject, kind: LeaseKind, owner: str) -> None:
        lease = lease_of(self.drawn(data), kind, owner)
        self.model.leases[lease.address] = lease
        self.becomes(self.book.put(lease))

    @rule(data=st.data())
    def put_a_run(self, data: st.DataObject) -> None:
        start = int(self.drawn(data)) & ~63
        run = {a: lease_of(a) for n in range(start, start + 64) for a in [self.family(n)]}
        self.model.leases |= run
        self.becomes(self.book.changed(list(run.items())))

    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        address = self.drawn(data)
        self.model.leases.pop(address, None)
        self.becomes(self.book.drop(address))

    @rule()
    def drop_every_other(self) -> None:
        gone = sorted(self.model.leases, key=int)[::2]
        for address in gone:
            del self.model.leases[address]
        self.becomes(self.book.changed([(address, None) for address in gone]))

    @rule(data=st.data())
    def withhold(self, data: st.DataObject) -> None:
        addresses = {self.drawn(data), self.drawn(data)}
        self.model.withheld |= addresses
        self.becomes(self.book.withhold(addresses))

    @rule(data=st.data())
    def release_withheld(self, data: st.DataObject) -> None:
        addresses = {self.drawn(data), self.drawn(data)}
        self.model.withheld -= addresses
        self.becomes(self.book.release_withheld(addresses))

    @rule(data=st.data(), spares_withheld=st.booleans(), length=st.sampled_from([0, 1, 300]))
    def look_for_a_free_one(
        self, data: st.DataObject, *, spares_withheld: bool, length: int
    ) -> None:
        first = int(self.drawn(data))

        found = self.book.next_free(first, first + length, spares_withheld=spares_withheld)

        wanted = self.model.next_free(first, first + length, spares_withheld=spares_withheld)
        assert found == wanted

    @rule(data=st.data())
    def look_up(self, data: st.DataObject) -> None:
        address = self.drawn(data)

        assert self.book.get(address) == self.model.leases.get(address)
        assert (address in self.book) is (address in self.model.leases)

    @invariant()
    def has_what_the_model_has(self) -> None:
        held = [self.model.leases[address] for address in sorted(self.model.leases, key=int)]
        assert list(self.book.values()) == held
        assert list(self.book) == [lease.address for lease in held]
        assert len(self.book) == len(held)
        assert self.book.is_blank == (not held and not self.model.withheld)
        kinds = Counter(lease.kind for lease in held)
        assert {kind: self.book.count(kind) for kind in LeaseKind} == {
            k: kinds[k] for k in LeaseKind
        }


Books.TestCase.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)
TestBooks = Books.TestCase


@given(st.lists(IPV4, unique=True))
def test_order_of_changes_does_not_show(numbers: list[int]) -> None:
    leases = [lease_of(IPv4Address(n)) for n in numbers]
    at_once = book_of(leases)
    one_by_one = LeaseBook(POOL)
    for lease in reversed(leases):
        one_by_one = one_by_one.put(lease)

    assert one_by_one == at_once
    for lease in leases:
        one_by_one = one_by_one.drop(lease.address)
    assert one_by_one.is_blank


def test_unknown_addresses_are_not_there() -> None:
    book = book_of([lease_of("10.9.0.2")])

    assert book.get(ip_address("10.9.0.3")) is None
    assert ip_address("10.9.0.3") not in book
    assert "10.9.0.2" not in book
    assert book.drop(ip_address("10.9.0.3")) is book
    with pytest.raises(KeyError):
        book[ip_address("10.9.0.3")]


def test_address_of_the_other_family_with_the_same_number_is_another() -> None:
    same = IPv6Address(int(ip_address("10.9.0.2")))
    book = book_of([lease_of("10.9.0.2")]).withhold([ip_address("10.9.0.3")])

    assert same not in book
    assert book.drop(same) is book
    assert book.release_withheld([same + 1]) is book
    with pytest.raises(ValueError, match="among leases of IPv4"):
        book.put(lease_of(same))
    assert same in book_of([lease_of("10.9.0.2")]).drop(ip_address("10.9.0.2")).put(lease_of(same))


@pytest.mark.parametrize(
    "created_at",
    [
        NOON + timedelta(microseconds=1),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 1, 31, 12, tzinfo=timezone(timedelta(hours=5))),
    ],
)
def test_lease_comes_back_to_the_microsecond(created_at: datetime) -> None:
    lease = lease_of("10.9.0.2", LeaseKind.RESERVED, "db", created_at)

    assert LeaseBook(POOL).put(lease)[lease.address] == lease


def test_next_free_of_a_full_run_is_behind_it() -> None:
    book = full(10 << 24, 5 * 4096)
    behind = (10 << 24) + 5 * 4096

    for first in (10 << 24, (10 << 24) + 4095, behind - 1, behind):
        assert book.next_free(first, behind, spares_withheld=True) == behind
    assert book.next_free(10 << 24, behind - 1, spares_withheld=True) is None


@pytest.mark.parametrize("size", [64, 4096])
def test_next_free_behind_a_full_node_that_ends_before_its_place_does(size: int) -> None:
    start = 1 << 24
    book = full(start, size).put(lease_of("0.0.0.1")).put(lease_of("2.0.0.0"))

    for first in (start, start + size - 1):
        assert book.next_free(first, first + size, spares_withheld=True) == start + size


def test_next_free_looks_at_few_nodes_whatever_is_leased(monkeypatch: pytest.MonkeyPatch) -> None:
    from netplug import leases

    book = full(10 << 24, 5 * 4096).drop(ip_address("10.0.66.7"))
    looked, look = 0, leases._Branch.child

    def counting(branch: leases._Branch, place: int) -> object:
        nonlocal looked
        looked += 1
        return look(branch, place)

    monkeypatch.setattr(leases._Branch, "child", counting)

    free = book.next_free(10 << 24, 11 << 24, spares_withheld=True)

    assert free == int(ip_address("10.0.66.7"))
    assert looked <= 6


def test_withheld_address_stays_so_while_it_is_leased_and_after() -> None:
    two = ip_address("10.9.0.2")
    book = LeaseBook(POOL).withhold([two]).put(lease_of(two)).drop(two)

    assert len(book) == 0
    assert not book.is_blank
    assert book.next_free(int(two), int(two), spares_withheld=True) is None
    assert book.next_free(int(two), int(two), spares_withheld=False) == int(two)
    assert book.release_withheld([two]).is_blank


def test_change_shares_what_it_does_not_touch() -> None:
    book = full(10 << 24, 4096)

    after = book.put(lease_of("10.1.0.0"))

    assert [one is two for one, two in zip(_leaves(book), _leaves(after), strict=False)] == [
        True
    ] * 64


def _leaves(book: LeaseBook) -> list[object]:
    from netplug.leases import _leaves

    return list(_leaves(book._root))


def test_repr_tells_the_pool_and_how_many() -> None:
    assert repr(book_of([lease_of("10.9.0.2")])) == "LeaseBook('local/pool', 1 leases)"
