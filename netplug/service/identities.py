"""What the Docker Engine tells: names, its own subnets, and whether it is the one we know."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field, replace

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
from netplug.model import Network
from netplug.service.addresses import Addresses
from netplug.service.endpoints import Endpoints
from netplug.service.kept import Change, learned
from netplug.service.who import identity_of

log = logging.getLogger(__name__)

DRIVER = "pynet"

_AT_ONCE = 200  # endpoints looked at before others have a turn: 10 ms


@dataclass(slots=True)
class Identities:
    """Keeps names fresh.

    `snapshot` is what the engine that made what we have told last; None while it is away or another
    one answers. `absences` counts how often it was away.
    """

    endpoints: Endpoints
    addresses: Addresses
    clock: Clock
    engine: Engine | None
    info: EngineInfo | None = None
    problem: str = ""
    snapshot: EngineSnapshot | None = None
    absences: int = 0
    _taken_in: EngineSnapshot | None = field(default=None)

    async def learn(self, update: EngineUpdate) -> None:
        """Take in one update of the watcher."""
        match update:
            case EngineAway(problem=problem):
                self.info, self.problem, self.snapshot = None, problem, None
                self.absences += 1
            case EngineSnapshot():
                self.info, self.problem = update.info, update.info.problem
                state = self.endpoints.networks.state
                state.learn_engine_subnets(update.closed_subnets, update.beside_us)
                await self._name(update)
                self.snapshot = update if await self._is_our_engine(update.info) else None

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
            if self._news(listed, snapshot).is_any:
                async with n.locks.hold(f"endpoint {listed.id}"):
                    await self.addresses.change_kept(self._news(listed, snapshot))
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

    def _news(self, listed: EngineEndpoint, snapshot: EngineSnapshot) -> Change:
        """Return the endpoint's record as the engine has it, and its leases, if ours are others.

        Who is there is known once the container has been inspected. The leases stay as long as the
        endpoint is locked: dockerd gives them back after it is deleted.
        """
        view = self.endpoints.networks.state.view
        known = view.endpoints.get(listed.id)
        if known is None:
            return Change()
        container = snapshot.containers.get(listed.container_id)
        identity = identity_of(container, listed.id) if container else None
        said = replace(
            known,
            name=listed.name or known.name,
            identity=identity or known.identity,
        )
        change = learned(view, known, said, self.clock.now())
        return replace(change, puts=(said, *change.puts)) if said != known else change

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
