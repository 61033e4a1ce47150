"""Ask the engine and the kernel about what the records say, and repair what is nobody's."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from netplug.contract.engine import EngineNetwork
from netplug.errors import Conflict, EngineUnreachable, NotFound
from netplug.model import (
    Endpoint,
    IPAddress,
    IPNetwork,
    Lease,
    LeaseKind,
    Network,
    NetworkId,
    Pool,
    PoolId,
)
from netplug.service.addresses import Addresses
from netplug.service.audit import Facts, Finding, Remedy, examine, removable
from netplug.service.endpoints import Endpoints
from netplug.service.held import is_same_lease, leases_of, of_network
from netplug.service.identities import DRIVER, Identities

# The networks of ours that the engine lists, and the subnets of all; None where nobody can say.
_Word = tuple[Mapping[NetworkId, EngineNetwork] | None, frozenset[IPNetwork] | None]
_NO_WORD: _Word = (None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What was found; `problem` is a sentence on what could not be judged, or empty."""

    findings: tuple[Finding, ...] = ()
    problem: str = ""


@dataclass(slots=True)
class Auditor:
    """Audits when asked, and by itself removes what it found twice and what is nobody's.

    What is younger than `grace` is not judged: dockerd records an endpoint only after
    CreateEndpoint is answered, and a network after CreateNetwork.
    """

    endpoints: Endpoints
    addresses: Addresses
    identities: Identities
    grace: timedelta
    _suspects: frozenset[str] = field(default=frozenset())
    _absences: int = 0

    async def audit(self) -> Audit:
        """Compare everything; change nothing.

        While no engine answers that made what is here, only what came without Docker is judged.

        Raises:
            KernelRefused: who has which address cannot be read.
        """
        problem = self._silence()
        if not problem:
            try:
                return Audit(findings=await self._judged(await self._asked()))
            except EngineUnreachable as error:
                problem = str(error)
        return Audit(findings=await self._judged(_NO_WORD), problem=problem)

    async def fix(self, ids: Collection[str]) -> tuple[Finding, ...]:
        """Audit again and repair those of these findings that are still there; return them.

        Raises:
            KernelRefused: who has which address cannot be read.
            StoreUnavailable: the rest is as it was.
        """
        findings = (await self.audit()).findings
        return tuple([f for f in findings if f.id in ids and await self._repair(f)])

    async def release(self, pool: Pool, address: IPAddress) -> None:
        """Release a lease that an audit shows to be nobody's.

        Raises:
            NotFound: the address is not leased.
            Conflict: somebody has it, or it cannot be shown that nobody has; the message says why.
        """
        view = self.addresses.state.view
        lease = view.leases_of(pool.id).get(address)
        if lease is None:
            raise NotFound("lease", f"{address} of pool {pool.id}")
        audit = await self.audit()
        for finding in audit.findings:
            if isinstance(finding.record, Lease) and is_same_lease(finding.record, lease):
                if finding.remedy is Remedy.REMOVE and await self._repair(finding):
                    return
                raise Conflict(finding.what, f"is in use: {finding.evidence}")
        raise Conflict(f"address {address} of pool {pool.id}", self._use_of(lease, audit.problem))

    async def sweep(self) -> None:
        """Remove what nobody had at the last sweep and nobody has now.

        The engine is asked only where what it told last leaves a doubt, then the kernel. Nothing
        is removed that one of them knows. Without an engine, the records and the kernel decide.

        Raises:
            EngineUnreachable: it did not answer; nothing is removed.
            KernelRefused: who has which address cannot be read; nothing is removed.
        """
        suspects, self._suspects = self._suspects, frozenset()
        if self._absences != self.identities.absences:
            suspects, self._absences = frozenset(), self.identities.absences
        engine, snapshot = self.identities.engine, self.identities.snapshot
        if engine is not None and snapshot is None:
            return
        told = snapshot.networks if snapshot else None
        doubtful = await self._removable((told, frozenset()))
        if engine is not None and doubtful:  # a pool may be that of another driver's network
            doubtful = await self._removable((told, await engine.subnets()))
        if not doubtful:
            return
        found = [f for f in await self._judged(await self._asked()) if f.id in doubtful]
        self._suspects = frozenset(f.id for f in found if f.remedy is Remedy.REMOVE)
        for finding in found:
            if finding.id in suspects & self._suspects:
                await self._repair(finding)

    def _silence(self) -> str:
        """Return why the engine is not asked, empty if it is, or if there is none."""
        told = self.identities
        if told.engine is None or told.snapshot is not None:
            return ""
        other = "another Docker Engine answers than before" if told.info else ""
        return told.problem or other or "the Docker Engine has not answered yet"

    async def _asked(self) -> _Word:
        """Return what the engine says now.

        Raises:
            EngineUnreachable: it does not answer.
        """
        engine = self.identities.engine
        if engine is None:
            return None, frozenset()
        networks = {n.id: n for n in await engine.networks(DRIVER)}
        return networks, await engine.subnets()

    async def _removable(self, word: _Word) -> frozenset[str]:
        """Return the ids of what is to be removed if the kernel has nothing against it."""
        return await asyncio.to_thread(removable, self._facts(word))

    async def _judged(self, word: _Word) -> tuple[Finding, ...]:
        kernel = self.addresses.kernel
        known = {e.sandbox for e in self.addresses.state.view.endpoints.values()} - {""}
        sandboxes = await kernel.sandboxes(known)
        facts = replace(self._facts(word), sandboxes=sandboxes)
        found = await asyncio.to_thread(examine, facts)
        doubtful = [
            f.record.address
            for f in found
            if isinstance(f.record, Lease) and f.remedy is Remedy.REMOVE
        ]
        if not doubtful:
            return found
        answering = await kernel.answering(doubtful)
        facts = replace(facts, view=self.addresses.state.view, answering=answering)
        return await asyncio.to_thread(examine, facts)

    def _facts(self, word: _Word) -> Facts:
        networks, subnets = word
        before = self.addresses.clock.now() - self.grace
        view = self.addresses.state.view
        return Facts(view=view, before=before, networks=networks, subnets=subnets)

    async def _repair(self, finding: Finding) -> bool:
        """Do what the finding says; return whether there was anything left to do."""
        match finding.remedy, finding.record:
            case Remedy.RECORD, Lease() as lease:
                is_done = await self.addresses.record(lease)
            case Remedy.REMOVE, Lease() as lease:
                is_done = self._is_free(lease) and await self.addresses.forget(lease)
            case Remedy.REMOVE, Pool(id=pool_id):
                is_done = await self._release_pools([pool_id])
            case Remedy.REMOVE, Endpoint() as endpoint:
                leases = leases_of(endpoint, self.addresses.state.view)
                await self.endpoints.delete(endpoint.id, leases)
                self.addresses.rest(leases)
                is_done = True
            case Remedy.REMOVE, Network() as network:
                await self.endpoints.networks.delete(network.id)
                await self._release_pools(network.pool_ids)
                is_done = True
            case _:
                is_done = False
        if is_done:
            self._tell(finding)
        return is_done

    def _use_of(self, lease: Lease, problem: str) -> str:
        """Return why an audit does not say of a lease that it is nobody's."""
        if lease.kind is LeaseKind.RESERVED:
            return "is reserved; 'pynet ipam unreserve' gives it back"
        view = self.addresses.state.view
        if (network := view.network_of(lease.pool_id)) is not None:
            if what := of_network(network).get(lease.address):
                return f"is {what} of network {network.label}"
            for endpoint in view.endpoints_of(network.id):
                if any(a.ip == lease.address for a in endpoint.addresses):
                    return f"is in use: endpoint {endpoint.label} has it"
        if problem:
            return f"may be in use: {problem}"
        if lease.created_at >= self.addresses.clock.now() - self.grace:
            return (
                f"is younger than {self.grace.total_seconds():g} s: its container may be starting"
            )
        return "may be in use: its pool is that of a network of another driver"

    def _is_free(self, lease: Lease) -> bool:
        """Return whether no endpoint came for the address while the kernel was asked."""
        view = self.addresses.state.view
        held = (a.ip for e in view.endpoints.values() for a in e.addresses)
        return lease.address not in held

    async def _release_pools(self, pool_ids: Iterable[PoolId]) -> bool:
        """Release those of these pools that no network has."""
        used = {i for n in self.addresses.state.view.networks.values() for i in n.pool_ids}
        free = [pool_id for pool_id in pool_ids if pool_id not in used]
        for pool_id in free:
            await self.addresses.release_pool(pool_id)
        return bool(free)

    def _tell(self, finding: Finding) -> None:
        done = "recorded" if finding.remedy is Remedy.RECORD else "removed"
        self.endpoints.networks.journal.note(
            "ipam.audit", f"{finding.fault} {finding.what} {done}: {finding.evidence}"
        )
