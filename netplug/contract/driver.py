"""What a network driver promises: given the model, it says what should exist. Nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from netplug.model import Endpoint, IPAddress, IPNetwork, Network, View
from netplug.plan.objects import KernelObject


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySkip:
    """Families for which dockerd should not reserve a gateway address (GwAllocCheck)."""

    ipv4: bool = False
    ipv6: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticRoute:
    """A route inside the sandbox; without `next_hop` it is on-link."""

    destination: IPNetwork
    next_hop: IPAddress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """How a sandbox is joined: which link moves in, what it is called there, where it leads.

    `link` is in the host's namespace when Join is answered; inside it is renamed to `prefix` plus
    the first free number.
    """

    link: str
    prefix: str
    gateways: tuple[IPAddress, ...] = ()
    routes: tuple[StaticRoute, ...] = ()
    needs_no_gateway_service: bool = True


class NetworkDriver(Protocol):
    """A pure planner. It never awaits, never asks the host, never deletes."""

    name: str

    def validate(self, network: Network, view: View) -> None:
        """Refuse what this driver cannot build.

        Raises:
            InvalidOptions: with every problem found.
            Conflict: something of the network is in use by another.
        """
        ...

    def skip_gateways(self, options: Mapping[str, str], *, is_internal: bool) -> GatewaySkip:
        """Say for which families the network needs no gateway address.

        Raises:
            InvalidOptions: with every problem found.
        """
        ...

    def validate_endpoint(self, endpoint: Endpoint, network: Network) -> None:
        """Refuse endpoint options that this driver does not know.

        Raises:
            InvalidOptions: with every problem found.
        """
        ...

    def plan_network(self, network: Network, view: View) -> frozenset[KernelObject]:
        """Return what should exist for the network itself."""
        ...

    def plan_endpoint(
        self, endpoint: Endpoint, network: Network, view: View
    ) -> frozenset[KernelObject]:
        """Return what should exist for a joined endpoint; empty before Join."""
        ...

    def attachment(self, endpoint: Endpoint, network: Network) -> Attachment:
        """Return what dockerd is told at Join."""
        ...
