"""What a pool keeps: a name gets its address back, and others get it last."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address

import pytest

from ipam.plugin import PoolIpam
from netplug.contract.ipam import AddressGrant, AddressRequest
from netplug.model import LeaseKind, Pool, Stickiness, Sticky
from netplug.view import View
from tests.ipam.worlds import NOW, leases_of, pool_of, view_of

POOL = pool_of("10.9.0.0/29")  # 10.9.0.1 to 10.9.0.6
LATER = NOW + timedelta(hours=1)


def kept(number: int, name: str, service: str = "", pool: Pool = POOL) -> Sticky:
    address = ip_address(f"10.9.0.{number}")
    return Sticky(pool_id=pool.id, name=name, service=service, address=address, held_at=NOW)


def ask(view: View, name: str = "", service: str = "", address: str = "") -> AddressGrant:
    request = AddressRequest(
        pool_id=POOL.id,
        address=ip_address(address) if address else None,
        name=name,
        service=service,
    )
    return PoolIpam().request_address(request, view, LATER)


def test_a_name_gets_its_address_back_and_moves_no_cursor() -> None:
    grant = ask(view_of(POOL, kept(5, "web")), "web")

    assert str(grant.lease.address) == "10.9.0.5"
    assert grant.lease.sticky is Stickiness.KEPT
    assert (grant.pool, grant.kept, grant.lapsed) == (None, None, ())


def test_a_replica_gets_its_address_back_whatever_it_is_called_now() -> None:
    before = kept(5, "a1b2_web", "shop/www/1")

    grant = ask(view_of(POOL, before), "web", "shop/www/1")

    assert str(grant.lease.address) == "10.9.0.5"
    assert grant.kept == replace(before, name="web")


def test_a_replica_comes_before_a_name_which_lapses() -> None:
    by_name, by_service = kept(4, "web"), kept(5, "old", "shop/www/1")

    grant = ask(view_of(POOL, by_name, by_service), "web", "shop/www/1")

    assert str(grant.lease.address) == "10.9.0.5"
    assert grant.lapsed == (by_name,)


def test_a_name_whose_service_is_not_told_keeps_it() -> None:
    grant = ask(view_of(POOL, kept(5, "web", "shop/www/1")), "web")

    assert (str(grant.lease.address), grant.kept) == ("10.9.0.5", None)


def test_a_new_name_gets_an_address_that_is_kept_for_nobody() -> None:
    view = view_of(POOL, *(kept(n, f"c{n}") for n in (1, 2, 3)))

    grant = ask(view, "web", "shop/www/1")

    assert str(grant.lease.address) == "10.9.0.4"
    assert grant.lease.sticky is Stickiness.NEW
    assert grant.kept == replace(kept(4, "web", "shop/www/1"), held_at=LATER)
    assert grant.pool == replace(POOL, cursor=ip_address("10.9.0.4"))


def test_a_caller_without_a_name_gets_an_address_that_is_kept_for_nobody() -> None:
    view = view_of(POOL, kept(1, "web"))

    grant = ask(view)

    assert str(grant.lease.address) == "10.9.0.2"
    assert (grant.lease.sticky, grant.kept) == (Stickiness.NONE, None)


def test_the_last_free_address_is_given_whoever_it_is_kept_for() -> None:
    view = view_of(POOL, *(kept(n, f"c{n}") for n in range(1, 7)))

    grant = ask(view, "web")
    after = view.without(grant.lapsed).with_records(grant.puts)

    assert grant.lease.sticky is Stickiness.NEW
    book = after.sticky_of(POOL.id)
    assert [s.address for s in book.of("web", "")] == [grant.lease.address]
    assert book.of("c1", "") == ()


def test_a_name_whose_address_is_taken_gets_another_and_keeps_that() -> None:
    before = kept(5, "web")
    view = view_of(POOL, before, *leases_of(POOL, ["10.9.0.5"]))

    grant = ask(view, "web")

    assert str(grant.lease.address) == "10.9.0.1"
    assert (grant.lease.sticky, grant.lapsed) == (Stickiness.NEW, (before,))
    assert grant.kept == replace(kept(1, "web"), held_at=LATER)


def test_an_address_that_was_asked_for_is_kept_for_the_name_from_now_on() -> None:
    view = view_of(POOL, kept(4, "web"), kept(5, "db"))

    grant = ask(view, "web", address="10.9.0.5")
    after = view.without(grant.lapsed).with_records(grant.puts)

    assert grant.lease.kind is LeaseKind.STATIC
    assert grant.lease.sticky is Stickiness.NONE
    assert [s.name for s in after.sticky_of(POOL.id)] == ["web"]


@pytest.mark.parametrize("kind", [LeaseKind.GATEWAY, LeaseKind.AUX, LeaseKind.RESERVED])
def test_what_is_no_endpoints_is_kept_for_nobody(kind: LeaseKind) -> None:
    request = AddressRequest(pool_id=POOL.id, kind=kind, name="web", address=ip_address("10.9.0.1"))

    grant = PoolIpam().request_address(request, view_of(POOL), NOW)

    assert (grant.kept, grant.lease.sticky) == (None, Stickiness.NONE)


def test_a_pool_that_is_not_sticky_keeps_nothing() -> None:
    pool = replace(POOL, is_sticky=False)

    grant = ask(view_of(pool, kept(5, "web")), "web")

    assert str(grant.lease.address) == "10.9.0.1"
    assert (grant.kept, grant.lapsed, grant.lease.sticky) == (None, (), Stickiness.NONE)
