"""Many callers at once over the real store, as when a host boots, until no address is left."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Network
from pathlib import Path

from netplug.contract.ipam import AddressRequest, PoolRequest
from netplug.errors import PoolExhausted
from netplug.kernel.memory import MemoryKernel
from netplug.model import IPAddress, LeaseKind
from netplug.service.state import State
from netplug.store.sqlite import SqliteStore
from tests.service.ipam_daemon import started
from tests.service.ipam_model import candidates
from tests.service.world import SetClock

CALLERS, ROUNDS = 64, 6
WISH = PoolRequest(space="pynet-local", network=IPv4Network("10.9.0.0/26"))


async def test_callers_at_once_never_share_an_address_nor_lose_one(tmp_path: Path) -> None:
    store = await SqliteStore.opened(tmp_path / "state.db")
    daemon = await started(store, MemoryKernel(), SetClock())
    addresses = daemon.addresses
    pool = await addresses.request_pool(WISH)
    gateway, _ = await addresses.request_address(
        AddressRequest(pool_id=pool.id, kind=LeaseKind.GATEWAY)
    )
    held: dict[IPAddress, int] = {}

    async def ask(caller: int) -> IPAddress | None:
        try:
            lease, _ = await addresses.request_address(AddressRequest(pool_id=pool.id))
        except PoolExhausted:
            return None
        assert held.setdefault(lease.address, caller) == caller
        return lease.address

    async def come_and_go(caller: int) -> None:
        for _ in range(ROUNDS):
            if (address := await ask(caller)) is not None:
                await addresses.release_address(pool.id, address)
                del held[address]

    await asyncio.gather(*map(come_and_go, range(CALLERS)))
    served = await asyncio.gather(*map(ask, range(CALLERS)))
    await store.close()

    free = [a for a in candidates(pool.network) if a != gateway.address]
    assert sorted(held) == free
    assert served.count(None) == CALLERS - len(free)
    store = await SqliteStore.opened(tmp_path / "state.db")
    view = (await State.loaded(store)).view
    await store.close()
    assert view.leases == daemon.state.view.leases
    assert set(view.leases_of(pool.id)) == {gateway.address, *held}
