"""Many callers of the plugin socket at once, to the last address of a pool."""

from __future__ import annotations

import asyncio

from tests.api.conftest import Client
from tests.service.world import World

CALLERS, ROUNDS = 64, 3
SIZE = 62 - 1  # a /26 less its gateway
GATEWAY = {"RequestAddressType": "com.docker.network.gateway"}


async def test_callers_at_once_never_share_an_address_nor_lose_one(
    world: World, plugin: Client
) -> None:
    made = await plugin.call("IpamDriver.RequestPool", {"Pool": "10.9.0.0/26"})
    pool = {"PoolID": made.body["PoolID"]}
    await plugin.call("IpamDriver.RequestAddress", {**pool, "Options": GATEWAY})
    held: dict[str, int] = {}

    async def ask(caller: int) -> str:
        reply = await plugin.call("IpamDriver.RequestAddress", pool)
        if reply.status != 200:
            assert "nothing free in pool pynet-local/10.9.0.0/26" in reply.body["Err"]
            return ""
        address = str(reply.body["Address"]).removesuffix("/26")
        assert held.setdefault(address, caller) == caller
        return address

    async def come_and_go(caller: int) -> None:
        for _ in range(ROUNDS):
            if address := await ask(caller):
                del held[address]
                await plugin.call("IpamDriver.ReleaseAddress", {**pool, "Address": address})

    await asyncio.gather(*map(come_and_go, range(CALLERS)))
    served = await asyncio.gather(*map(ask, range(CALLERS)))

    assert len(held) == SIZE
    assert set(served) == {*held, ""}
    assert served.count("") == CALLERS - SIZE
    for view in (world.state.view, (await world.restarted()).state.view):
        leases = view.leases_of(pool["PoolID"])
        assert {str(address) for address in leases} == {*held, "10.9.0.1"}
