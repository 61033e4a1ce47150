"""What tells the release lines of dockerd apart for a plugin."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A release line; every difference is a claim of its own."""

    name: str
    number: int

    @property
    def names_the_socket_as_host(self) -> bool:
        """Until 20.10.25 the Host header was the path of the socket."""
        return self.number == 20

    @property
    def asks_spaces_at_registration(self) -> bool:
        return self.number < 24

    @property
    def asks_spaces_at_create(self) -> bool:
        return self.number >= 24

    @property
    def asks_spaces_at_each_pool(self) -> bool:
        return self.number >= 27

    @property
    def checks_gateway_allocation(self) -> bool:
        """It calls GwAllocCheck, and knows networks without IPv4."""
        return self.number >= 28

    @property
    def has_namespace_at_join(self) -> bool:
        """The sandbox of a starting container exists at Join; before, runc made it afterwards."""
        return self.number >= 28

    @property
    def elects_gateways_by_family(self) -> bool:
        return self.number >= 28

    @property
    def revokes_before_each_change(self) -> bool:
        """It revokes before it programs an endpoint's other role; 29 programs over the old one."""
        return self.number < 29

    @property
    def tells_no_proxy_6to4(self) -> bool:
        return self.number == 28

    @property
    def switches_unused_ipv6_off(self) -> bool:
        return self.number >= 26

    @property
    def names_endpoints_to_ipam(self) -> bool:
        return self.number >= 29

    @property
    def leaves_after_failed_join(self) -> bool:
        return self.number >= 29

    @property
    def forgets_roles_at_restart(self) -> bool:
        """Its table of joined endpoints is in memory: nothing is revoked after a live restore."""
        return self.number >= 29


RELEASES = {
    name: Release(name=name, number=int(name.partition(".")[0]))
    for name in ("20.10", "24", "27", "28", "29")
}
