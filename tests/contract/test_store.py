"""What every Store promises, asked of each of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv6Network, ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from netplug.contract.store import Batch, Store
from netplug.errors import StoreUnavailable
from netplug.model import (
    Endpoint,
    EndpointId,
    HostState,
    Identity,
    Lease,
    NameRecord,
    Network,
    NetworkId,
    NetworkState,
    Pool,
    PoolId,
    Protocol,
    RecordKind,
    Subnet,
)
from netplug.store.memory import Disk, MemoryStore
from netplug.store.sqlite import SqliteStore
from tests.store.loading import loaded

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
POOL = Pool(
    id=PoolId("local/10.9.0.0/24"),
    space="local",
    network=ip_network("10.9.0.0/24"),
    created_at=NOON,
)
LEASE = Lease(pool_id=POOL.id, address=ip_address("10.9.0.2"), owner="web-1", created_at=NOON)
NETWORK = Network(
    id=NetworkId("a" * 64),
    name="web",
    options=(("mtu", "1450"),),
    subnets=(Subnet(pool=POOL.network, gateway=ip_interface("10.9.0.1/24")),),
    pool_ids=(POOL.id,),
    created_at=NOON,
)
ENDPOINT = Endpoint(
    id=EndpointId("b" * 64),
    network_id=NETWORK.id,
    mac="02:42:0a:09:00:02",
    addresses=(ip_interface("10.9.0.2/24"),),
    identity=Identity(aliases=("web",), ports=((Protocol.TCP, 80),)),
    created_at=NOON,
)
NAME = NameRecord(
    network_id=NETWORK.id,
    name="db",
    kind=RecordKind.A,
    values=("10.9.0.7",),
    created_at=NOON,
)
HOST = HostState(instance="0f3a", ula=IPv6Network("fd12:3456:789a::/48"))
ALL = (POOL, LEASE, NETWORK, ENDPOINT, NAME, HOST)

Opener = Callable[[], Awaitable[Store]]


@pytest.fixture(params=["memory", "sqlite"])
async def opener(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opener]:
    """Return what opens a store on the same state each time; all are closed in the end."""
    opened: list[Store] = []
    disk = Disk()

    async def open_store() -> Store:
        store: Store
        if request.param == "memory":
            store = MemoryStore(disk)
        else:
            store = await SqliteStore.opened(tmp_path / "state" / "state.db")
        opened.append(store)
        return store

    yield open_store
    for store in opened:
        await store.close()


@pytest.fixture
async def store(opener: Opener) -> Store:
    return await opener()


async def test_load_of_a_new_store_is_empty(store: Store) -> None:
    assert await loaded(store) == ()


async def test_load_returns_what_was_committed(store: Store) -> None:
    await store.commit(Batch(puts=ALL))

    assert set(await loaded(store)) == set(ALL)


@pytest.mark.parametrize("is_durable", [False, True])
async def test_reopen_finds_what_was_committed(opener: Opener, is_durable: bool) -> None:
    before = await opener()
    await before.commit(Batch(puts=ALL, is_durable=is_durable))
    await before.close()

    after = await opener()

    assert set(await loaded(after)) == set(ALL)


async def test_put_of_a_namesake_replaces_it(store: Store) -> None:
    ready = replace(NETWORK, state=NetworkState.READY)
    await store.commit(Batch(puts=(NETWORK,)))

    await store.commit(Batch(puts=(ready,)))

    assert await loaded(store) == (ready,)


async def test_put_of_the_same_name_in_another_kind_keeps_both(store: Store) -> None:
    namesake = replace(ENDPOINT, id=EndpointId(NETWORK.id))

    await store.commit(Batch(puts=(NETWORK, namesake)))

    assert set(await loaded(store)) == {NETWORK, namesake}


async def test_put_of_an_address_in_two_pools_keeps_both(store: Store) -> None:
    elsewhere = replace(LEASE, pool_id=PoolId("other/10.9.0.0/24"))

    await store.commit(Batch(puts=(LEASE, elsewhere)))

    assert set(await loaded(store)) == {LEASE, elsewhere}


async def test_drop_removes_by_name_whatever_else_the_record_says(store: Store) -> None:
    await store.commit(Batch(puts=(NETWORK, POOL)))

    await store.commit(Batch(drops=(replace(NETWORK, name="renamed"),)))

    assert await loaded(store) == (POOL,)


@pytest.mark.parametrize("is_durable", [False, True])
async def test_drop_of_an_absent_record_is_passed_over(store: Store, is_durable: bool) -> None:
    await store.commit(Batch(puts=(POOL,), drops=(LEASE,), is_durable=is_durable))

    assert await loaded(store) == (POOL,)


async def test_commit_of_nothing_changes_nothing(store: Store) -> None:
    await store.commit(Batch(puts=(POOL,)))

    await store.commit(Batch(is_durable=True))

    assert await loaded(store) == (POOL,)


async def test_commit_of_a_record_put_and_dropped_keeps_it(store: Store) -> None:
    await store.commit(Batch(puts=(POOL,), drops=(POOL,)))

    assert await loaded(store) == (POOL,)


async def test_commits_called_together_are_applied_in_order(store: Store) -> None:
    versions = [replace(NETWORK, name=f"v{number}") for number in range(50)]

    await asyncio.gather(
        *(store.commit(Batch(puts=(v,), is_durable=v.name.endswith("7"))) for v in versions)
    )

    assert await loaded(store) == (versions[-1],)


async def test_load_called_behind_commits_sees_them(store: Store) -> None:
    writing = [asyncio.ensure_future(store.commit(Batch(puts=(r,)))) for r in ALL]
    loading = asyncio.ensure_future(loaded(store))

    await asyncio.gather(*writing, loading)

    assert set(loading.result()) == set(ALL)


async def test_commit_whose_caller_is_cancelled_takes_place(store: Store) -> None:
    writing = asyncio.ensure_future(store.commit(Batch(puts=(POOL,))))
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.wait([writing])

    assert await loaded(store) == (POOL,)


async def test_commit_of_a_record_without_json_form_writes_nothing(store: Store) -> None:
    unfit = replace(NETWORK, name=object())  # type: ignore[arg-type]

    with pytest.raises(NotImplementedError):
        await store.commit(Batch(puts=(POOL, unfit)))

    assert await loaded(store) == ()


async def test_open_while_another_store_is_open_is_refused(opener: Opener) -> None:
    first = await opener()

    with pytest.raises(StoreUnavailable, match="in use by"):
        await opener()

    await first.commit(Batch(puts=(POOL,)))
    assert await loaded(first) == (POOL,)


async def test_sync_of_anything_keeps_it(opener: Opener) -> None:
    before = await opener()
    await before.sync()
    await before.commit(Batch(puts=ALL))

    await asyncio.gather(*(before.sync() for _ in range(5)))

    await before.close()
    assert set(await loaded(await opener())) == set(ALL)


async def test_close_repeated_does_not_let_a_third_store_in(opener: Opener) -> None:
    first = await opener()
    await first.close()
    await opener()

    await first.close()

    with pytest.raises(StoreUnavailable, match="in use by"):
        await opener()


async def test_close_behind_a_commit_writes_it_first(opener: Opener) -> None:
    before = await opener()
    writing = asyncio.ensure_future(before.commit(Batch(puts=(POOL,))))
    await asyncio.sleep(0)

    await before.close()

    await writing
    assert await loaded(await opener()) == (POOL,)


async def test_closed_store_refuses_to_work(store: Store) -> None:
    await store.close()

    with pytest.raises(StoreUnavailable, match="closed"):
        await store.commit(Batch(puts=(POOL,)))
    with pytest.raises(StoreUnavailable, match="closed"):
        await loaded(store)
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.sync()
