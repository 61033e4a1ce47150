"""Networks and endpoints without Docker: addresses, network and sandbox in one request each."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_interface

from netplug.contract.driver import GatewaySkip
from netplug.contract.ipam import AddressRequest, PoolRequest
from netplug.errors import Conflict, InvalidRequest
from netplug.model import (
    Endpoint,
    EndpointId,
    Identity,
    IPAddress,
    IPInterface,
    IPNetwork,
    LeaseKind,
    Network,
    NetworkId,
    Origin,
    Pool,
    PoolId,
    Subnet,
)
from netplug.plan.diff import Plan
from netplug.service.addresses import Addresses
from netplug.service.endpoints import Endpoints, mac_for
from netplug.service.held import leases_of
from netplug.service.name_syntax import name_problem
from netplug.service.networks import Networks

SPACE = "pynet-local"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetWish:
    """A subnet that the user wants; everything left out is chosen. `aux` are addresses to spare."""

    pool: IPNetwork | None = None
    sub_range: IPNetwork | None = None
    gateway: IPAddress | None = None
    aux: tuple[tuple[str, IPAddress], ...] = ()
    is_ipv6: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkWish:
    """A network that the user wants."""

    name: str
    driver: str = "bridge"
    subnets: tuple[SubnetWish, ...] = ()
    has_ipv4: bool = True
    has_ipv6: bool = False
    is_internal: bool = False
    options: tuple[tuple[str, str], ...] = ()
    ipam_options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachWish:
    """An attachment that the user wants; `netns` is a path, `interface` the name inside.

    `aliases` are further names that it is asked for by.
    """

    network: str
    netns: str
    name: str = ""
    aliases: tuple[str, ...] = ()
    addresses: tuple[IPAddress, ...] = ()
    interface: str = ""
    mac: str = ""
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standalone:
    """What `docker network` and `docker run` do, for hosts and namespaces without Docker."""

    networks: Networks
    endpoints: Endpoints
    addresses: Addresses

    async def create(self, wish: NetworkWish, *, is_dry: bool = False) -> Network | Plan:
        """Create a network with pools of its own; with `is_dry` return the steps instead.

        Raises:
            Conflict: the name or a subnet is taken.
            InvalidOptions, InvalidRequest, PoolExhausted, KernelRefused: nothing is left behind.
        """
        async with self.networks.locks.hold(f"network name {wish.name}"):
            return await self._create(wish, is_dry=is_dry)

    async def delete(self, reference: str) -> None:
        """Delete a network that was created here, and its pools.

        Raises:
            NotFound: there is none.
            Conflict: it is Docker's, or endpoints are on it.
        """
        network = self.networks.find(reference)
        if network.origin is Origin.DOCKER:
            raise Conflict(
                f"network {network.label}",
                "was made by Docker",
                f"use 'docker network rm {network.label}'",
            )
        if used := self.networks.state.view.endpoints_of(network.id):
            names = ", ".join(sorted(e.label for e in used))
            raise Conflict(f"network {network.label}", f"has endpoints: {names}", "detach them")
        await self.networks.delete(network.id)
        for pool_id in network.pool_ids:
            await self.addresses.release_pool(pool_id)

    async def attach(self, wish: AttachWish) -> Endpoint:
        """Give a namespace a link on a network.

        Raises:
            NotFound: there is no such network.
            InvalidRequest: an alias is no name.
            Conflict: a name, the address or the interface is taken.
            KernelRefused: there is no such namespace; nothing is left behind.
        """
        _refuse_aliases(wish.aliases)
        network = self.networks.find(wish.network)
        if network.origin is Origin.DOCKER:
            raise Conflict(
                f"network {network.label}",
                "has its addresses from Docker",
                f"use 'docker network connect {network.label} CONTAINER'",
            )
        locks = self.networks.locks
        name = wish.name or wish.netns
        async with locks.hold(f"name {name} on {network.id}"), locks.hold(f"netns {wish.netns}"):
            return await self._attach(wish, network)

    async def detach(self, reference: str) -> None:
        """Take an attached link away and release its addresses.

        Raises:
            NotFound: there is no such endpoint.
            Conflict: it is Docker's.
        """
        endpoint = self.endpoints.find(reference)
        if endpoint.origin is Origin.DOCKER:
            raise Conflict(
                f"endpoint {endpoint.label}",
                "was made by Docker",
                f"use 'docker network disconnect NETWORK {endpoint.label}'",
            )
        held = leases_of(endpoint, self.networks.state.view)
        await self.endpoints.delete(endpoint.id, held)
        self.addresses.rest(held)

    async def _create(self, wish: NetworkWish, *, is_dry: bool) -> Network | Plan:
        if any(n.name == wish.name for n in self.networks.state.view.networks.values()):
            raise Conflict(f"network {wish.name}", "exists")
        driver = self.networks.driver_named(wish.driver)
        skip = driver.skip_gateways(dict(wish.options), is_internal=wish.is_internal)
        granted: list[Pool] = []
        try:
            subnets = [
                await self._subnet(w, wish.ipam_options, skip, granted) for w in _all_subnets(wish)
            ]
            network = self._network(wish, subnets, granted)
            if not is_dry:
                return await self.networks.create(network)
            plan = await self.networks.preview(network)
        except BaseException:
            await self._give_back(granted)
            raise
        await self._give_back(granted)
        return plan

    async def _attach(self, wish: AttachWish, network: Network) -> Endpoint:
        """Attach; until it returns nobody else may take the name or an interface's in there."""
        self._refuse_name(wish.name, network)
        self._refuse_recorded((wish.name, *wish.aliases), network)
        leased: list[tuple[PoolId, IPAddress]] = []
        endpoint: Endpoint | None = None
        try:
            addresses = await self._lease(wish, network, leased)
            endpoint = self._endpoint(wish, network, addresses)
            await self.endpoints.create(endpoint)
            is_lent = wish.netns.startswith(
                "/proc/"
            )  # a process ends, and its number is used again
            await self.endpoints.join(network.id, endpoint.id, wish.netns, is_lent=is_lent)
        except BaseException:
            if endpoint is not None:
                await self.endpoints.delete(endpoint.id)
            for pool_id, address in leased:
                await self.addresses.release_address(pool_id, address)
            raise
        return self.networks.state.view.endpoints[endpoint.id]

    async def _subnet(
        self,
        wish: SubnetWish,
        options: tuple[tuple[str, str], ...],
        skip: GatewaySkip,
        granted: list[Pool],
    ) -> Subnet:
        pool = await self.addresses.request_pool(
            PoolRequest(
                space=SPACE,
                network=wish.pool,
                sub_range=wish.sub_range,
                is_ipv6=wish.is_ipv6,
                options=options,
            )
        )
        granted.append(pool)
        for name, address in wish.aux:
            await self.addresses.request_address(
                AddressRequest(pool_id=pool.id, address=address, kind=LeaseKind.AUX, owner=name)
            )
        needs_none = skip.ipv6 if pool.network.version == 6 else skip.ipv4
        if needs_none and wish.gateway is None:
            return Subnet(pool=pool.network, aux=wish.aux)
        lease, _ = await self.addresses.request_address(
            AddressRequest(pool_id=pool.id, address=wish.gateway, kind=LeaseKind.GATEWAY)
        )
        return Subnet(pool=pool.network, gateway=_in_pool(lease.address, pool), aux=wish.aux)

    async def _give_back(self, granted: Sequence[Pool]) -> None:
        for pool in granted:
            await self.addresses.release_pool(pool.id)

    async def _lease(
        self, wish: AttachWish, network: Network, leased: list[tuple[PoolId, IPAddress]]
    ) -> tuple[IPInterface, ...]:
        """Lease the wanted addresses, and one of each family of which none is wanted."""
        pools = [self.networks.state.view.pools[pool_id] for pool_id in network.pool_ids]
        found: dict[int, IPInterface] = {}
        wanted: list[tuple[Pool, IPAddress | None]] = []
        given = {address.version for address in wish.addresses}
        if len(given) < len(wish.addresses):
            raise InvalidRequest(["an endpoint has one address of each family"])
        for address in wish.addresses:
            inside = [p for p in pools if address in p.network]
            if not inside:
                known = ", ".join(str(p.network) for p in pools)
                raise InvalidRequest([f"address {address} is not in {network.label} ({known})"])
            wanted.append((inside[0], address))
        wanted += [(p, None) for p in pools if p.network.version not in given]
        for pool, choice in wanted:
            if pool.network.version in found:
                continue
            lease, pool = await self.addresses.request_address(
                AddressRequest(pool_id=pool.id, address=choice, owner=wish.name, name=wish.name)
            )
            leased.append((pool.id, lease.address))
            found[pool.network.version] = _in_pool(lease.address, pool)
        return tuple(found.values())

    def _network(self, wish: NetworkWish, subnets: list[Subnet], granted: list[Pool]) -> Network:
        return Network(
            id=NetworkId(secrets.token_hex(32)),
            name=wish.name,
            driver=wish.driver,
            origin=Origin.PYNET,
            options=wish.options,
            is_internal=wish.is_internal,
            has_ipv4=wish.has_ipv4,
            has_ipv6=wish.has_ipv6,
            subnets=tuple(subnets),
            pool_ids=tuple(pool.id for pool in granted),
            created_at=self.addresses.clock.now(),
        )

    def _endpoint(
        self, wish: AttachWish, network: Network, addresses: tuple[IPInterface, ...]
    ) -> Endpoint:
        endpoint_id = EndpointId(secrets.token_hex(32))
        gives_mac = self.endpoints.gives_mac(network.id)
        return Endpoint(
            id=endpoint_id,
            network_id=network.id,
            name=wish.name,
            identity=Identity(aliases=wish.aliases),
            origin=Origin.PYNET,
            mac=wish.mac or (mac_for(addresses, endpoint_id) if gives_mac else ""),
            addresses=addresses,
            options=wish.options,
            interface=wish.interface or self._free_interface(wish.netns),
            created_at=self.addresses.clock.now(),
        )

    def _refuse_name(self, name: str, network: Network) -> None:
        for endpoint in self.networks.state.view.endpoints_of(network.id):
            if name and endpoint.name == name:
                raise Conflict(f"endpoint {name}", f"exists on network {network.label}")

    def _refuse_recorded(self, names: Sequence[str], network: Network) -> None:
        """Refuse names that were recorded by hand, as a record of an endpoint's name is."""
        recorded = {record.name for record in self.networks.state.view.records_of(network.id)}
        for name in names:
            if name.lower() in recorded:
                hint = f"'pynet dns rm {name.lower()} --network {network.label}' removes it"
                raise Conflict(f"name {name}", f"is recorded on network {network.label}", hint)

    def _free_interface(self, netns: str) -> str:
        endpoints = self.networks.state.view.endpoints.values()
        used = {e.interface for e in endpoints if e.sandbox == netns}
        return next(name for i in range(len(used) + 1) if (name := f"eth{i}") not in used)


def _refuse_aliases(aliases: Sequence[str]) -> None:
    found = ((alias, name_problem(alias)) for alias in aliases)
    if problems := [f"alias {alias!r}: {problem}" for alias, problem in found if problem]:
        raise InvalidRequest(problems)


def _all_subnets(wish: NetworkWish) -> Iterator[SubnetWish]:
    """Yield the wanted subnets, and an automatic one for each enabled family without any."""
    yield from wish.subnets
    families = {w.is_ipv6 for w in wish.subnets}
    if wish.has_ipv4 and False not in families:
        yield SubnetWish()
    if wish.has_ipv6 and True not in families:
        yield SubnetWish(is_ipv6=True)


def _in_pool(address: IPAddress, pool: Pool) -> IPInterface:
    return ip_interface(f"{address}/{pool.network.prefixlen}")
