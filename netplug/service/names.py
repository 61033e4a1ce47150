"""Which names there are and who may ask for them: the view, told to the embedded DNS.

Everything is told once; from then on each commit is told as what it changes, before whoever
committed goes on. So a name is gone before DeleteEndpoint is answered, and a sandbox is served
before Join is: its namespace may be there, and its first process asking, right after.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from netplug.contract.driver import NameMode, NameOptions
from netplug.contract.names import (
    Change,
    ClientKind,
    NameClient,
    Named,
    NamedEndpoint,
    NamedNetwork,
    NamedRecord,
    Names,
)
from netplug.errors import PynetError
from netplug.model import (
    Endpoint,
    EndpointId,
    IPAddress,
    Lease,
    NameRecord,
    Network,
    NetworkId,
    NetworkState,
    Origin,
    Pool,
    Record,
    Sticky,
)
from netplug.service.name_syntax import LONGEST_LABEL, zone_text
from netplug.service.networks import Networks
from netplug.service.who import names_of
from netplug.view import View

HOST_CLIENT = "host"

_OFF = NameOptions(mode=NameMode.OFF)


@dataclass(slots=True, kw_only=True)
class NameDirectory:
    """Keeps `names` at what the view says. `host_address` is where the host asks, if anywhere."""

    networks: Networks
    names: Names
    host_address: IPAddress | None = None
    _served: dict[str, NameClient] = field(default_factory=dict)
    _in_sandbox: dict[str, set[EndpointId]] = field(default_factory=dict)
    _options: dict[NetworkId, tuple[Network, NameOptions]] = field(default_factory=dict)
    _outlived: set[str] = field(default_factory=set)

    def start(self) -> None:
        """Tell everything, and every commit from now on.

        Namespaces that were given as a process's are left out: since they were attached, the
        number may have become another's; until something is attached there again.
        """
        view = self.networks.state.view
        endpoints = view.endpoints.values()
        self._outlived = {e.sandbox for e in endpoints if e.is_lent and e.origin is Origin.PYNET}
        self.networks.state.listen(self._committed)
        records: list[Record] = [*view.networks.values(), *endpoints, *view.records.values()]
        if self.host_address is not None:
            self.names.serve(
                NameClient(
                    id=HOST_CLIENT,
                    kind=ClientKind.HOST,
                    label=HOST_CLIENT,
                    listen=(self.host_address,),
                    forwards=False,
                )
            )
        self._learn(View(host=view.host), view, records)

    def stop(self) -> None:
        """Tell nothing any more."""
        self.networks.state.ignore(self._committed)

    def options_of(self, network: Network | None) -> NameOptions:
        """Return how the names of a network are served; off while it is not built."""
        if network is None or network.state is not NetworkState.READY:
            return _OFF
        known, options = self._options.get(network.id, (None, _OFF))
        if known is network:
            return options
        try:
            options = self.networks.driver_of(network).name_service(network)
        except PynetError:  # options of another version; reconciliation tells
            options = _OFF
        self._options[network.id] = (network, options)
        return options

    def served(self) -> tuple[NameClient, ...]:
        """Return who may ask, but for the host itself."""
        return tuple(self._served.values())

    def is_served(self, client_id: str) -> bool:
        """Return whether somebody may ask, by the id of the client."""
        return client_id in self._served

    def _committed(self, before: View, after: View, records: Sequence[Record]) -> None:
        for record in records if self._outlived else ():
            if isinstance(record, Endpoint) and (now := after.endpoints.get(record.id)):
                was = before.endpoints.get(record.id)
                if was is None or was.sandbox != now.sandbox:
                    self._outlived.discard(now.sandbox)
        self._learn(before, after, records)

    def _learn(self, before: View, after: View, records: Sequence[Record]) -> None:
        """Tell what differs in what `records` touched."""
        touched: dict[Record, None] = dict.fromkeys(
            r for r in records if not isinstance(r, Lease | Pool | Sticky)
        )
        if not touched:  # addresses have no names, and are many
            return
        puts: list[Named] = []
        drops: list[Named] = []
        for record in self._with_dependents(before, after, touched):
            old, new = self._named(record, before), self._named(record, after)
            if new is not None and new != old:
                puts.append(new)
            elif old is not None and new is None:
                drops.append(old)
        if puts or drops:
            self.names.change(Change(puts=tuple(puts), drops=tuple(drops)))
        for sandbox in self._touched_sandboxes(before, after, touched):
            self._serve(sandbox, self._sandbox_client(sandbox, after))
        for network_id in [record.id for record in touched if isinstance(record, Network)]:
            gateway = self._gateway_client(after.networks.get(network_id))
            self._serve(f"gateway/{network_id}", gateway)
            if network_id not in after.networks:
                self._options.pop(network_id, None)

    def _with_dependents(
        self, before: View, after: View, touched: dict[Record, None]
    ) -> Iterator[Network | Endpoint | NameRecord]:
        """Yield what may differ, networks first; with a network that comes, what is on it too."""
        networks = [r for r in touched if isinstance(r, Network)]
        yield from networks
        yield from (r for r in touched if isinstance(r, Endpoint | NameRecord))
        for network in networks:
            was, is_now = (self._mode(network.id, view) for view in (before, after))
            if is_now is not was and is_now is not NameMode.OFF:
                yield from (e for e in after.endpoints_of(network.id) if e not in touched)
                yield from (r for r in after.records_of(network.id) if r not in touched)

    def _touched_sandboxes(
        self, before: View, after: View, touched: dict[Record, None]
    ) -> dict[str, None]:
        """Return the sandboxes whose client may be another, and keep the index of them."""
        sandboxes: dict[str, None] = {}
        for record in touched:
            if isinstance(record, Endpoint):
                for view in (before, after):
                    endpoint = view.endpoints.get(record.id)
                    if endpoint is not None and endpoint.sandbox:
                        sandboxes[endpoint.sandbox] = None
                        self._index(endpoint, is_there=view is after)
            elif isinstance(record, Network) and _rank(record.id, before) != _rank(
                record.id, after
            ):
                on_it = after.endpoints_of(record.id)
                sandboxes.update((e.sandbox, None) for e in on_it if e.sandbox)
        return sandboxes

    def _index(self, endpoint: Endpoint, *, is_there: bool) -> None:
        if is_there:
            self._in_sandbox.setdefault(endpoint.sandbox, set()).add(endpoint.id)
        elif inside := self._in_sandbox.get(endpoint.sandbox):
            inside.discard(endpoint.id)
            if not inside:
                del self._in_sandbox[endpoint.sandbox]

    def _serve(self, client_id: str, client: NameClient | None) -> None:
        if client is None:
            if self._served.pop(client_id, None) is not None:
                self.names.forget(client_id)
        elif self._served.get(client_id) != client:
            self._served[client_id] = client
            self.names.serve(client)

    def _sandbox_client(self, sandbox: str, view: View) -> NameClient | None:
        """Return who asks in a sandbox; None where nothing in there is to be asked."""
        if sandbox in self._outlived:
            return None
        inside = [view.endpoints[i] for i in sorted(self._in_sandbox.get(sandbox, ()))]
        networks = [n for e in inside if (n := view.networks.get(e.network_id))]
        overlaid = [n for n in networks if self.options_of(n).mode is NameMode.OVERLAY]
        if not overlaid:
            return None
        is_docker = any(e.origin is Origin.DOCKER for e in inside)
        named = [e.name for e in inside if e.name] or [inside[0].label]
        return NameClient(
            id=sandbox,
            kind=ClientKind.OVERLAY if is_docker else ClientKind.OWN,
            label=named[0],
            network_ids=tuple(dict.fromkeys(n.id for n in sorted(overlaid, key=_order))),
            netns=sandbox,
            forwards=is_docker or not all(n.is_internal for n in networks),
            left_to_docker=tuple(dict.fromkeys(_links(inside, view))) if is_docker else (),
        )

    def _gateway_client(self, network: Network | None) -> NameClient | None:
        options = self.options_of(network)
        if network is None or options.mode is not NameMode.GATEWAY or not options.addresses:
            return None
        return NameClient(
            id=f"gateway/{network.id}",
            kind=ClientKind.GATEWAY,
            label=network.label,
            network_ids=(network.id,),
            listen=options.addresses,
            forwards=not network.is_internal,
        )

    def _mode(self, network_id: NetworkId, view: View) -> NameMode:
        return self.options_of(view.networks.get(network_id)).mode

    def _named(self, record: Network | Endpoint | NameRecord, view: View) -> Named | None:
        """Return what the DNS is told of a record as it is in `view`; None if nothing."""
        match record:
            case Network():
                return self._named_network(view.networks.get(record.id))
            case Endpoint():
                endpoint = view.endpoints.get(record.id)
                if endpoint is None or self._mode(endpoint.network_id, view) is NameMode.OFF:
                    return None
                return _named_endpoint(endpoint)
            case NameRecord():
                kept = view.records.get(record.key)
                if kept is None or self._mode(kept.network_id, view) is NameMode.OFF:
                    return None
                return _named_record(kept)

    def _named_network(self, network: Network | None) -> NamedNetwork | None:
        options = self.options_of(network)
        if network is None or options.mode is NameMode.OFF:
            return None
        return NamedNetwork(
            id=network.id,
            name=_domain_of(network),
            ttl_s=options.ttl_s,
            subnets=tuple(s.pool for s in network.subnets),
            is_internal=network.is_internal,
        )


def _named_endpoint(endpoint: Endpoint) -> NamedEndpoint | None:
    """Return a joined endpoint; without names while nobody said who is there.

    Its address is told all the same: at a gateway, it may ask.
    """
    if not endpoint.sandbox:
        return None
    return NamedEndpoint(
        id=endpoint.id,
        network_id=endpoint.network_id,
        label=endpoint.label,
        names=tuple(names_of(endpoint)),
        addresses=tuple(a.ip for a in endpoint.addresses),
        ports=endpoint.identity.ports if endpoint.identity else (),
    )


def _named_record(record: NameRecord) -> NamedRecord:
    return NamedRecord(
        network_id=record.network_id,
        name=record.name,
        kind=record.kind,
        values=tuple(zone_text(record.kind, value) for value in record.values),
    )


def _domain_of(network: Network) -> str:
    """Return what names of a network end with: its own, or the short id where that cannot be."""
    parts = network.label.split(".")
    is_short = all(len(part.encode(errors="surrogatepass")) <= LONGEST_LABEL for part in parts)
    return network.label if is_short else network.short_id


def _links(endpoints: Iterable[Endpoint], view: View) -> Iterator[str]:
    """Yield the names that a container alone has for others, which Docker knows."""
    for endpoint in endpoints:
        network = view.networks.get(endpoint.network_id)
        for link in endpoint.identity.links if endpoint.identity else ():
            yield link.lower()
            if network is not None:
                yield f"{link}.{network.label}".lower()


def _order(network: Network) -> tuple[bool, str, str]:
    """Docker's order: those that lead outside first, then by name."""
    return (network.is_internal, network.label, network.id)


def _rank(network_id: NetworkId, view: View) -> object:
    """Return what of a network the clients on it depend on."""
    network = view.networks.get(network_id)
    return network and (_order(network), network.state)
