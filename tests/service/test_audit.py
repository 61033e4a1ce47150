"""The audit: each fault with its evidence, repairs on request, and never a live address."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from netplug.contract.engine import EngineAway, EngineEndpoint, EngineNetwork
from netplug.contract.ipam import AddressRequest, PoolRequest
from netplug.contract.kernel import SandboxFacts
from netplug.errors import Conflict, NotFound
from netplug.model import Endpoint, Lease, LeaseKind, Network, Pool
from netplug.service.audit import Fault, Finding, Remedy
from netplug.service.standalone import AttachWish, NetworkWish, SubnetWish
from tests.service.world import (
    DOCKERS_SANDBOX,
    GRACE,
    NETNS,
    NOON,
    World,
    endpoint,
    known_to_engine,
    messages,
    network,
)

PAST_GRACE_S = GRACE.total_seconds() + 1
GATEWAY, HELD, LOST = (ip_address(f"10.9.0.{n}") for n in (1, 2, 7))
POOL = ip_network("10.9.0.0/24")


@pytest.fixture
async def pool(world: World) -> Pool:
    return await world.addresses.request_pool(PoolRequest(space="pynet-local", network=POOL))


@pytest.fixture
async def web(world: World, pool: Pool) -> Network:
    """A network of Docker's with our addresses, as dockerd makes it."""
    wish = AddressRequest(pool_id=pool.id, address=GATEWAY, kind=LeaseKind.GATEWAY)
    await world.addresses.request_address(wish)
    asked = replace(network(1, f"{GATEWAY}/24"), pool_ids=(pool.id,), name="web")
    return await world.networks.create(asked)


@pytest.fixture
async def box(world: World, web: Network, pool: Pool) -> Endpoint:
    """A container on it."""
    await leased(world, pool, HELD)
    asked = replace(endpoint(web), name="box", addresses=(ip_interface(f"{HELD}/24"),))
    await world.endpoints.create(asked)
    await world.endpoints.join(web.id, asked.id, DOCKERS_SANDBOX, is_lent=True)
    return world.state.view.endpoints[asked.id]


async def leased(world: World, pool: Pool, address: object) -> Lease:
    wish = AddressRequest(pool_id=pool.id, address=ip_address(str(address)))
    lease, _ = await world.addresses.request_address(wish)
    return lease


async def later(world: World) -> None:
    """Let the engine list all that is here, and the grace period pass."""
    world.clock.advance(PAST_GRACE_S)
    await world.identities.learn(known_to_engine(world))


async def found(world: World) -> Sequence[Finding]:
    return (await world.auditor.audit()).findings


async def only(world: World) -> Finding:
    (finding,) = await found(world)
    return finding


async def sweep_twice(world: World) -> None:
    for _ in range(2):
        await world.auditor.sweep()


async def test_audit_of_what_is_as_it_should_be_finds_nothing(world: World, box: Endpoint) -> None:
    await later(world)

    audit = await world.auditor.audit()

    assert (audit.findings, audit.problem) == ((), "")


async def test_audit_finds_a_leaked_lease_and_fix_releases_it(
    world: World, pool: Pool, box: Endpoint
) -> None:
    await leased(world, pool, LOST)
    await later(world)

    finding = await only(world)
    repaired = await world.auditor.fix([finding.id])

    assert (finding.fault, finding.remedy) == (Fault.LEAKED, Remedy.REMOVE)
    assert finding.id == "leaked address 10.9.0.7 of pool pynet-local/10.9.0.0/24"
    assert finding.evidence == (
        "leased since 2026-01-31 12:00:00+00:00; no endpoint and no container has it, "
        "it is in no sandbox, and nobody answers for it"
    )
    assert repaired == (finding,)
    assert await found(world) == ()
    assert set(world.state.view.leases_of(pool.id)) == {GATEWAY, HELD}
    assert messages(world)[-1] == f"leaked {finding.what} removed: {finding.evidence}"


async def test_audit_judges_nothing_that_is_young(world: World, pool: Pool, box: Endpoint) -> None:
    await later(world)
    await leased(world, pool, LOST)
    world.clock.advance(GRACE.total_seconds())
    await world.identities.learn(known_to_engine(world))

    assert await found(world) == ()


@pytest.mark.parametrize("inhabited", [True, False])
async def test_address_in_a_sandbox_is_never_released(
    world: World, pool: Pool, box: Endpoint, inhabited: bool
) -> None:
    await leased(world, pool, LOST)
    world.kernel.inhabitants["/run/netns/x"] = SandboxFacts(
        frozenset({LOST}), is_inhabited=inhabited
    )
    await later(world)

    finding = await only(world)
    repaired = await world.auditor.fix([finding.id])
    await sweep_twice(world)

    assert (finding.fault, finding.remedy, repaired) == (Fault.UNKNOWN, Remedy.NONE, ())
    assert finding.evidence.endswith("no endpoint has it, but it is in sandbox /run/netns/x")
    assert LOST in world.state.view.leases_of(pool.id)


async def test_address_that_somebody_answers_for_is_never_released(
    world: World, pool: Pool, box: Endpoint
) -> None:
    await leased(world, pool, LOST)
    world.kernel.neighbours[LOST] = "br0"
    await later(world)

    finding = await only(world)
    await sweep_twice(world)

    assert (finding.fault, finding.remedy) == (Fault.UNKNOWN, Remedy.NONE)
    assert finding.evidence.endswith("no endpoint has it, but somebody answers for it on br0")
    assert LOST in world.state.view.leases_of(pool.id)


async def test_address_that_the_engine_lists_is_never_released(
    world: World, web: Network, pool: Pool
) -> None:
    await leased(world, pool, LOST)
    await later(world)
    listed = EngineEndpoint(id=endpoint(web).id, name="lost", addresses=(LOST,))
    known = world.engine.listed[web.id]
    world.engine.listed = {web.id: replace(known, endpoints={listed.id: listed})}
    await world.identities.learn(world.engine.snapshot(world.clock.now()))

    finding = await only(world)
    await sweep_twice(world)

    assert (finding.fault, finding.remedy) == (Fault.UNKNOWN, Remedy.NONE)
    assert finding.evidence.endswith("the engine lists container lost with it")
    assert LOST in world.state.view.leases_of(pool.id)


async def test_fix_keeps_an_address_that_came_alive_while_the_kernel_was_asked(
    world: World, web: Network, pool: Pool
) -> None:
    await leased(world, pool, LOST)
    await later(world)
    finding = await only(world)
    answering = world.kernel.answering

    async def join_meanwhile(addresses: object) -> object:
        late = replace(endpoint(web), addresses=(ip_interface(f"{LOST}/24"),))
        await world.state.commit(puts=(late,))
        return await answering(addresses)  # type: ignore[arg-type]

    world.kernel.answering = join_meanwhile  # type: ignore[assignment,method-assign]

    assert await world.auditor.fix([finding.id]) == ()
    assert LOST in world.state.view.leases_of(pool.id)


async def test_fix_of_what_is_no_longer_found_does_nothing(
    world: World, pool: Pool, box: Endpoint
) -> None:
    await leased(world, pool, LOST)
    await later(world)
    finding = await only(world)
    await world.addresses.release_address(pool.id, LOST)
    await leased(world, pool, LOST)

    assert await world.auditor.fix([finding.id, "leaked nonsense"]) == ()
    assert LOST in world.state.view.leases_of(pool.id)


async def test_audit_finds_an_address_without_a_lease_and_fix_records_it(
    world: World, pool: Pool, box: Endpoint
) -> None:
    for address in (HELD, GATEWAY):
        await world.addresses.release_address(pool.id, address)
    await later(world)
    await sweep_twice(world)

    findings = await found(world)
    await world.auditor.fix([f.id for f in findings])

    assert [(f.fault, f.remedy) for f in findings] == [(Fault.MISSING, Remedy.RECORD)] * 2
    assert [f.evidence for f in findings] == [
        "it is the gateway of web, and not leased: another may get it",
        "it is box's, and not leased: another may get it",
    ]
    leases = world.state.view.leases_of(pool.id)
    assert {a: (lease.kind, lease.owner) for a, lease in leases.items()} == {
        GATEWAY: (LeaseKind.GATEWAY, "web"),
        HELD: (LeaseKind.DYNAMIC, "box"),
    }
    assert await found(world) == ()


async def test_audit_finds_two_endpoints_with_one_address(
    world: World, web: Network, box: Endpoint
) -> None:
    twin = replace(endpoint(web, 3), name="twin", addresses=box.addresses, created_at=NOON)
    await world.state.commit(puts=(twin,))
    await later(world)

    finding = await only(world)
    repaired = await world.auditor.fix([finding.id])

    assert (finding.fault, finding.remedy, repaired) == (Fault.DUPLICATE, Remedy.NONE, ())
    assert finding.what == "endpoint twin"
    assert finding.evidence == (
        "it has 10.9.0.2 since 2026-01-31 12:00:00+00:00, "
        "but endpoint box has it since 2026-01-31 12:00:00+00:00, too"
    )


@pytest.mark.parametrize(("inhabited", "count"), [(True, 1), (False, 0)])
async def test_audit_finds_an_endpoints_address_in_another_sandbox(
    world: World, box: Endpoint, inhabited: bool, count: int
) -> None:
    own = SandboxFacts(frozenset({HELD}), is_inhabited=True)
    world.kernel.inhabitants[DOCKERS_SANDBOX] = own
    world.kernel.inhabitants["/run/netns/x"] = replace(own, is_inhabited=inhabited)
    await later(world)

    evidence = [f.evidence for f in await found(world)]

    said = "it has 10.9.0.2 since 2026-01-31 12:00:00+00:00, but it is in sandbox /run/netns/x, too"
    assert evidence == [said] * count


@pytest.mark.parametrize("kind", [LeaseKind.DYNAMIC, LeaseKind.RESERVED])
@pytest.mark.parametrize("address", ["10.9.0.0", "10.9.0.255", "10.10.0.1"])
async def test_audit_finds_a_lease_that_the_pool_does_not_have_to_give(
    world: World, pool: Pool, box: Endpoint, address: str, kind: LeaseKind
) -> None:
    misplaced = Lease(pool_id=pool.id, address=ip_address(address), kind=kind, created_at=NOON)
    await world.state.commit(puts=(misplaced,))
    await later(world)

    finding = await only(world)
    await world.auditor.fix([finding.id])

    assert (finding.fault, finding.remedy) == (Fault.MISPLACED, Remedy.REMOVE)
    assert await found(world) == ()


async def test_audit_finds_a_pool_without_a_network_unless_somebody_is_in_it(
    world: World, pool: Pool
) -> None:
    await later(world)
    free = await only(world)
    world.kernel.inhabitants["/run/netns/x"] = SandboxFacts(frozenset({LOST}))
    used = await only(world)
    await sweep_twice(world)

    assert pool.id in world.state.view.pools
    assert (free.id, free.remedy) == (f"unused {pool.id}", Remedy.REMOVE)
    assert (used.id, used.remedy) == (free.id, Remedy.NONE)
    assert used.evidence.endswith("no network has it, but 10.9.0.7 is in sandbox /run/netns/x")
    del world.kernel.inhabitants["/run/netns/x"]
    assert await world.auditor.fix([free.id]) == (free,)
    assert world.state.view.pools == {}


async def test_forgotten_endpoint_goes_with_its_lease(
    world: World, web: Network, pool: Pool, box: Endpoint
) -> None:
    await later(world)
    listed = EngineNetwork(id=web.id, name="web", driver="pynet", endpoints={})
    world.engine.listed = {web.id: listed}
    await world.identities.learn(world.engine.snapshot(world.clock.now()))

    finding = await only(world)
    await sweep_twice(world)

    assert finding.evidence == (
        "10.9.0.2, made 2026-01-31 12:00:00+00:00; the engine does not list it, "
        "and no process has its address"
    )
    assert set(world.state.view.leases_of(pool.id)) == {GATEWAY}
    assert await found(world) == ()


async def test_forgotten_endpoint_stays_while_a_process_has_its_address(
    world: World, web: Network, pool: Pool, box: Endpoint
) -> None:
    within = SandboxFacts(frozenset({HELD}), is_inhabited=True)
    world.kernel.inhabitants[DOCKERS_SANDBOX] = within
    await later(world)
    world.engine.listed = {}
    await world.identities.learn(world.engine.snapshot(world.clock.now()))

    findings = await found(world)
    await sweep_twice(world)

    assert [(f.fault, f.what, f.remedy) for f in findings] == [
        (Fault.FORGOTTEN, "network web", Remedy.NONE),
        (Fault.FORGOTTEN, "endpoint box", Remedy.NONE),
    ]
    assert box.id in world.state.view.endpoints
    world.kernel.inhabitants[DOCKERS_SANDBOX] = replace(within, is_inhabited=False)
    await sweep_twice(world)
    assert (world.state.view.networks, world.state.view.pools) == ({}, {})


async def test_sweep_records_nothing_and_asks_the_kernel_only_in_doubt(
    world: World, box: Endpoint
) -> None:
    await later(world)

    await sweep_twice(world)

    assert world.engine.asked == 0


async def test_audit_while_the_engine_is_away_judges_what_is_our_own(
    world: World, pool: Pool, box: Endpoint
) -> None:
    lab = await world.standalone.create(
        NetworkWish(name="lab", subnets=(SubnetWish(pool=ip_network("10.8.0.0/24")),))
    )
    assert isinstance(lab, Network)
    await leased(world, pool, LOST)
    await leased(world, world.state.view.pools[lab.pool_ids[0]], "10.8.0.9")
    await later(world)
    await world.identities.learn(EngineAway(problem="connection refused"))

    away = await world.auditor.audit()
    world.engine.is_away = True
    await world.identities.learn(world.engine.snapshot(world.clock.now()))
    silent = await world.auditor.audit()

    assert [f.what for f in away.findings] == [f"address 10.8.0.9 of pool {lab.pool_ids[0]}"]
    assert silent.findings == away.findings
    assert (away.problem, "it is away" in silent.problem) == ("connection refused", True)


async def test_release_of_a_leaked_lease_releases_it(
    world: World, pool: Pool, box: Endpoint
) -> None:
    await leased(world, pool, LOST)
    await later(world)

    await world.auditor.release(pool, LOST)

    assert LOST not in world.state.view.leases_of(pool.id)
    with pytest.raises(NotFound, match=r"no lease '10\.9\.0\.7 of pool pynet-local"):
        await world.auditor.release(pool, LOST)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("10.9.0.1", "is the gateway of network web"),
        ("10.9.0.2", "is in use: endpoint box has it"),
        ("10.9.0.7", "somebody answers for it on br0"),
        ("10.9.0.8", "is younger than 30 s: its container may be starting"),
        ("10.9.0.9", "is reserved; 'pynet ipam unreserve' gives it back"),
    ],
)
async def test_release_of_what_may_be_in_use_is_refused(
    world: World, pool: Pool, box: Endpoint, address: str, reason: str
) -> None:
    await leased(world, pool, LOST)
    world.kernel.neighbours[LOST] = "br0"
    await world.reservations.reserve("web", ["10.9.0.9"], "")
    await later(world)
    await leased(world, pool, "10.9.0.8")

    with pytest.raises(Conflict, match=reason):
        await world.auditor.release(pool, ip_address(address))

    assert ip_address(address) in world.state.view.leases_of(pool.id)


async def test_release_while_the_engine_is_away_is_refused(
    world: World, pool: Pool, box: Endpoint
) -> None:
    await leased(world, pool, LOST)
    await later(world)
    await world.identities.learn(EngineAway(problem="connection refused"))

    with pytest.raises(Conflict, match="may be in use: connection refused"):
        await world.auditor.release(pool, LOST)


async def test_release_of_a_pool_of_another_driver_is_refused(world: World, pool: Pool) -> None:
    await leased(world, pool, LOST)
    world.engine.others = frozenset({POOL})
    await later(world)

    with pytest.raises(Conflict, match="network of another driver"):
        await world.auditor.release(pool, LOST)


async def test_attached_namespace_and_its_lease_are_no_fault(world: World) -> None:
    await world.standalone.create(NetworkWish(name="lab", has_ipv6=True))
    attached = await world.standalone.attach(AttachWish(network="lab", netns=NETNS))
    await later(world)

    assert await found(world) == ()
    await world.standalone.detach(attached.id)
    assert await found(world) == ()
