"""The book of kept addresses: what it finds by address, name and replica after any change."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from netplug.leases import IPAddress, PoolId
from netplug.sticky import Sticky, StickyBook

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
POOL = PoolId("local/10.9.0.0/24")


def kept(number: int, name: str, service: str = "") -> Sticky:
    address = IPv4Address(f"10.9.0.{number}")
    return Sticky(pool_id=POOL, name=name, service=service, address=address, held_at=NOON)


def book_of(*stickies: Sticky) -> StickyBook:
    return StickyBook().changed({sticky.address: sticky for sticky in stickies})


def test_of_finds_the_replica_before_the_name() -> None:
    by_name, by_service = kept(2, "web"), kept(3, "web-old", "shop/www/1")
    book = book_of(by_name, by_service)

    assert book.of("web", "shop/www/1") == (by_service, by_name)
    assert book.of("web", "shop/www/2") == (by_name,)
    assert book.of("", "") == ()


def test_of_what_both_find_tells_it_once() -> None:
    both = kept(2, "web", "shop/www/1")

    assert book_of(both).of("web", "shop/www/1") == (both,)


def test_changed_leaves_the_book_before_as_it_was() -> None:
    before = book_of(kept(2, "web"))

    after = before.changed({IPv4Address("10.9.0.2"): None})

    assert before.of("web", "") == (kept(2, "web"),)
    assert (after.of("web", ""), len(after), list(after)) == ((), 0, [])


def test_changed_moves_a_name_however_the_changes_are_ordered() -> None:
    old, new = kept(2, "web"), kept(3, "web")
    moves: list[dict[IPAddress, Sticky | None]] = [
        {old.address: None, new.address: new},
        {new.address: new, old.address: None},
    ]

    for changes in moves:
        assert book_of(old).changed(changes).of("web", "") == (new,)


def test_is_of_nobody_without_a_service() -> None:
    assert kept(2, "web").is_of("web", "shop/www/1")
    assert not kept(2, "web").is_of("db", "")


@given(
    st.lists(
        st.dictionaries(st.integers(2, 30), st.none() | st.integers(0, 40), min_size=1, max_size=4),
        max_size=40,
    )
)
def test_any_changes_end_as_if_made_to_a_dictionary(
    batches: list[dict[int, int | None]],
) -> None:
    book, model = StickyBook(), dict[IPAddress, Sticky]()

    for batch in batches:
        changes: dict[IPAddress, Sticky | None] = {
            IPv4Address(f"10.9.0.{number}"): None
            if word is None
            else kept(number, f"name-{word}-{number}", f"p/{number}/{word}")
            for number, word in batch.items()
        }
        book = book.changed(changes)
        for address, sticky in changes.items():
            model.pop(address, None)
            if sticky is not None:
                model[address] = sticky

    assert sorted(book, key=lambda s: s.address) == sorted(model.values(), key=lambda s: s.address)
    assert len(book) == len(model)
    for sticky in model.values():
        assert book.get(sticky.address) == sticky
        assert book.of(sticky.name, sticky.service) == (sticky,)
        assert book.of(sticky.name, "") == (sticky,)
