"""Which endpoint of a sandbox leads out of it (moby: libnetwork/sandbox.go, Less)."""

from __future__ import annotations

from integration.conformance.records import Container, Endpoint, Role
from integration.conformance.releases import Release


def elect(container: Container, release: Release) -> dict[str, Role]:
    """Return the role of each endpoint that has one. Until 27 one endpoint has both families."""
    ranked = sorted(container.endpoints, key=_rank)
    v4 = next((e for e in ranked if e.gateway(4)), None)
    if not release.elects_gateways_by_family:
        return {} if v4 is None else {v4.id: _families(v4)}
    v6 = next((e for e in ranked if e.gateway(6)), None)
    elected = {version: e.id for version, e in ((4, v4), (6, v6)) if e is not None}
    return {
        id_: frozenset(version for version, e in elected.items() if e == id_)
        for id_ in elected.values()
    }


def _rank(endpoint: Endpoint) -> tuple[bool, int, str]:
    return endpoint.network.spec.is_internal, -len(_families(endpoint)), endpoint.network.name


def _families(endpoint: Endpoint) -> Role:
    return frozenset(version for version in (4, 6) if endpoint.gateway(version))
