"""What a network driver promises: given the model, it says what should exist. Nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from netplug.model import Endpoint, IPAddress, Network, Parent, StaticRoute
from netplug.plan.objects import KernelObject
from netplug.view import View


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySkip:
    """Families for which dockerd should not reserve a gateway address (GwAllocCheck)."""

    ipv4: bool = False
    ipv6: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FactsWish:
    """Which links, and which types of links ("macvlan"), a driver must know of.

    `wants_uplink` asks about the interface with the default route, whatever its name.
    """

    links: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    wants_uplink: bool = False


NO_WISH = FactsWish()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """How a sandbox is joined: which link moves in, what it is called there, where it leads.

    `link` is in the host's namespace when Join is answered; inside it is renamed to `prefix` plus
    the first free number. `host_link` is where the host looks for its addresses; "" where nowhere.
    """

    link: str
    prefix: str
    host_link: str = ""
    gateways: tuple[IPAddress, ...] = ()
    routes: tuple[StaticRoute, ...] = ()
    needs_no_gateway_service: bool = True


class NameMode(StrEnum):
    """Where the names of a network are asked for.

    OVERLAY: inside each sandbox, at the address of Docker's resolver. GATEWAY: at the network's
    gateway, by those who know. OFF: nowhere.
    """

    OVERLAY = "overlay"
    GATEWAY = "gateway"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class NameOptions:
    """What a user chose for the names of a network. `addresses` are the host's own on it."""

    mode: NameMode = NameMode.OVERLAY
    ttl_s: int = 5
    addresses: tuple[IPAddress, ...] = ()


class NetworkDriver(Protocol):
    """A pure planner. It never awaits, never asks the host, never deletes."""

    name: str

    def facts_wanted(self, network: Network) -> FactsWish:
        """Return what the host must be asked before `parent` and `validate`.

        Raises:
            InvalidOptions: with every problem of the options.
        """
        ...

    def parent(self, network: Network, view: View) -> Parent | None:
        """Return the link of the host's that a new network stands on; None if it needs none.

        Raises:
            NotFound, Unsupported: there is no such link, or none that would do.
        """
        ...

    def validate(self, network: Network, view: View) -> None:
        """Refuse what this driver cannot build.

        Raises:
            InvalidOptions: with every problem found.
            Conflict: something of the network is in use by another.
            Unsupported: this host cannot, and what to do instead.
        """
        ...

    def may_overlap(self, network: Network) -> bool:
        """Return whether the user said that subnets may be in use outside our networks."""
        ...

    def skip_gateways(self, options: Mapping[str, str], *, is_internal: bool) -> GatewaySkip:
        """Say for which families the network needs no gateway address.

        Raises:
            InvalidOptions: with every problem found.
        """
        ...

    def validate_endpoint(self, endpoint: Endpoint, network: Network, view: View) -> None:
        """Refuse an endpoint that this driver cannot build.

        Raises:
            InvalidOptions: with every problem of its options.
            Conflict: the network takes no further endpoint, or not with this address or MAC.
        """
        ...

    def gives_mac(self, network: Network) -> bool:
        """Return whether endpoints have a MAC of their own, rather than that of the parent."""
        ...

    def plan_network(self, network: Network, view: View) -> frozenset[KernelObject]:
        """Return what should exist for the network itself."""
        ...

    def plan_endpoint(
        self, endpoint: Endpoint, network: Network, view: View
    ) -> frozenset[KernelObject]:
        """Return what should exist for an endpoint.

        Before Join that is the link that somebody moves in, and what guards it on the host. Then it
        may depend on the others of the sandbox: they are planned anew when it joins or leaves.
        """
        ...

    def plan_ports(self, endpoint: Endpoint, network: Network) -> frozenset[KernelObject]:
        """Return what publishes the ports of an endpoint; part of what `plan_endpoint` returns."""
        ...

    def takes_host_ports(self, network: Network) -> bool:
        """Return whether ports are published on the host.

        Otherwise they are the endpoints' own, which are reached as they are, and two endpoints may
        have the same.
        """
        ...

    def host_addresses(self, network: Network) -> tuple[IPAddress, ...]:
        """Return where the network's ports are published by default; empty leaves it to pynet."""
        ...

    def name_service(self, network: Network) -> NameOptions:
        """Return how the names of the network are served."""
        ...

    def attachment(self, endpoint: Endpoint, network: Network) -> Attachment:
        """Return what dockerd is told at Join."""
        ...
