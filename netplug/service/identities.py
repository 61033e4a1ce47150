"""What the Docker Engine tells: names, its own subnets, and what of ours it has forgotten."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field, replace
from datetime import timedelta

from netplug.clock import Clock
from netplug.contract.engine import (
    Engine,
    EngineAway,
    EngineEndpoint,
    EngineInfo,
    EngineNetwork,
    EngineSnapshot,
    EngineUpdate,
)
from netplug.model import Endpoint, EndpointId, Lease, Network, NetworkId, Origin, Pool
from netplug.service.addresses import Addresses
from netplug.service.endpoints import Endpoints
from netplug.service.unused import unused_leases, unused_pools
from netplug.service.who import identity_of

log = logging.getLogger(__name__)

GRACE = timedelta(seconds=30)
"""How long the engine may not know of something before it counts as forgotten: dockerd records an
endpoint only after CreateEndpoint is answered, and a network after CreateNetwork."""

DRIVER = "pynet"

_AT_ONCE = 500  # endpoints looked at before others have a turn: 10 ms


@dataclass(slots=True)
class Identities:
    """Keeps names fresh and removes what dockerd lost: old enough, missing twice, else not."""

    endpoints: Endpoints
    addresses: Addresses
    clock: Clock
    engine: Engine | None
    info: EngineInfo | None = None
    problem: str = ""
    _snapshot: EngineSnapshot | None = field(default=None)
    _taken_in: EngineSnapshot | None = field(default=None)
    _missing: frozenset[str] = field(default=frozenset())
    _suspects: frozenset[Pool | Lease] = field(default=frozenset())

    async def learn(self, update: EngineUpdate) -> None:
        """Take in one update of the watcher."""
        match update:
            case EngineAway(problem=problem):
                self.info, self.problem, self._snapshot = None, problem, None
                self._missing = frozenset()
            case EngineSnapshot():
                self.info, self.problem = update.info, update.info.problem
                self.endpoints.networks.state.learn_engine_subnets(update.closed_subnets)
                await self._name(update)
                self._snapshot = update if await self._is_our_engine(update.info) else None

    async def sweep(self) -> None:
        """Remove what the engine did not know before and does not know now.

        Before is the last update, or the last sweep for what is younger than that update's listing.
        Pools and leases have no name that the engine knows. They go when nobody used them at the
        last sweep and nobody does now; without an engine too, since an attachment can be cut off.

        Raises:
            EngineUnreachable: it did not answer; nothing is removed.
        """
        if self.engine is not None:
            if self._snapshot is None:
                return
            await self._sweep_records(self.engine, self._snapshot)
        await self._sweep_addresses()

    async def _sweep_records(self, engine: Engine, snapshot: EngineSnapshot) -> None:
        suspects, self._missing = self._missing, frozenset()
        now = self.clock.now()
        if not self._forgotten(replace(snapshot, listed_at=now)):
            return
        networks = {n.id: n for n in await engine.networks(DRIVER)}
        self._missing = self._forgotten(replace(snapshot, networks=networks, listed_at=now))
        certain = self._missing & (suspects | self._forgotten(snapshot))
        view = self.endpoints.networks.state.view
        for key in certain:
            if endpoint := view.endpoints.get(EndpointId(key)):
                self._tell(endpoint)
                await self.endpoints.delete(endpoint.id)
        for key in certain:
            if network := view.networks.get(NetworkId(key)):
                self._tell(network)
                await self.endpoints.networks.delete(network.id)

    async def _sweep_addresses(self) -> None:
        suspects, self._suspects = self._suspects, self._unused()
        if not suspects & self._suspects:
            return
        subnets = await self.engine.subnets() if self.engine else frozenset()
        for record in suspects & self._unused():
            if isinstance(record, Lease):
                self._tell_unused(f"{record.address} of {record.pool_id}")
                await self.addresses.release_address(record.pool_id, record.address)
            elif record.network not in subnets:
                self._tell_unused(record.id)
                await self.addresses.release_pool(record.id)

    def _unused(self) -> frozenset[Pool | Lease]:
        view = self.endpoints.networks.state.view
        before = self.clock.now() - GRACE
        return frozenset((*unused_pools(view, before), *unused_leases(view, before)))

    async def _name(self, snapshot: EngineSnapshot) -> None:
        """Take over the names, each under its record's lock: what was deleted stays deleted."""
        n = self.endpoints.networks
        for seen in snapshot.networks.values():
            if self._renamed(seen):  # else whoever holds the lock would hold up all names
                async with n.locks.hold(f"network {seen.id}"):
                    if renamed := self._renamed(seen):
                        await n.state.commit(puts=(renamed,))
        for number, listed in enumerate(self._not_taken_in(snapshot)):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            if self._news(listed, snapshot):
                async with n.locks.hold(f"endpoint {listed.id}"):
                    if known := self._news(listed, snapshot):
                        await n.state.commit(puts=(known,))
        self._taken_in = snapshot

    def _renamed(self, seen: EngineNetwork) -> Network | None:
        """Return the network's record as the engine calls it, if ours is another; None if not."""
        network = self.endpoints.networks.state.view.networks.get(seen.id)
        if network is None or network.name == seen.name:
            return None
        return replace(network, name=seen.name)

    def _not_taken_in(self, snapshot: EngineSnapshot) -> list[EngineEndpoint]:
        """Return the endpoints of which the engine may say something else than last time.

        What it said the same of is the same object.
        """
        before, view = self._taken_in, self.endpoints.networks.state.view
        networks = before.networks if before else {}
        containers = before.containers if before else {}
        listed = {
            endpoint.id: endpoint
            for key, network in snapshot.networks.items()
            if networks.get(key) is not network
            for endpoint in network.endpoints.values()
        }
        for key, container in snapshot.containers.items():
            if containers.get(key) is container:
                continue
            for endpoint_id in container.aliases:
                known = view.endpoints.get(endpoint_id)
                on = snapshot.networks.get(known.network_id) if known else None
                if on is not None and endpoint_id in on.endpoints:
                    listed[endpoint_id] = on.endpoints[endpoint_id]
        return list(listed.values())

    def _news(self, listed: EngineEndpoint, snapshot: EngineSnapshot) -> Endpoint | None:
        """Return the endpoint's record as the engine has it, if ours is another; None if not.

        Who is there is known once the container has been inspected.
        """
        known = self.endpoints.networks.state.view.endpoints.get(listed.id)
        if known is None:
            return None
        container = snapshot.containers.get(listed.container_id)
        identity = identity_of(container, listed.id) if container else None
        said = replace(
            known,
            name=listed.name or known.name,
            identity=identity or known.identity,
        )
        return said if said != known else None

    async def _is_our_engine(self, info: EngineInfo) -> bool:
        """Return whether this is the engine that made what we have; remember the first one."""
        known = self.endpoints.networks.state.view.host.engine_id
        if not known:
            await self.addresses.remember_engine(info.id)
        elif known != info.id:
            log.warning(
                "another Docker Engine answers than before; nothing is cleaned up on its word",
                extra={"known": known, "answers": info.id},
            )
        return known in {"", info.id}

    def _forgotten(self, snapshot: EngineSnapshot) -> frozenset[str]:
        """Return the ids of Docker's networks and endpoints, old enough, that it does not know."""
        view = self.endpoints.networks.state.view
        limit = min(self.clock.now() - GRACE, snapshot.listed_at)  # what is younger may be missing
        found: set[str] = set()
        for endpoint in view.endpoints.values():
            network = snapshot.networks.get(endpoint.network_id)
            is_known = network is not None and endpoint.id in network.endpoints
            if not is_known and endpoint.origin is Origin.DOCKER and endpoint.created_at < limit:
                found.add(endpoint.id)
        for record in view.networks.values():
            is_known = record.id in snapshot.networks
            if not is_known and record.origin is Origin.DOCKER and record.created_at < limit:
                found.add(record.id)
        return frozenset(found)

    def _tell_unused(self, what: str) -> None:
        log.warning("nobody uses it; releasing", extra={"what": what})

    def _tell(self, record: Network | Endpoint) -> None:
        log.warning("dockerd no longer knows it; removing", extra={"what": record.label})
