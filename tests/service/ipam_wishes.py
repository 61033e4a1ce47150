"""Requests for pools, as hypothesis draws them: few and small, so that they meet and run out."""

from __future__ import annotations

from ipaddress import ip_network

from hypothesis import strategies as st

from netplug.contract.ipam import AddressRequest, PoolRequest
from netplug.model import IPNetwork, LeaseKind, PoolId

SPACES = ("pynet-local", "pynet-global")
SIZES = tuple(ip_network(f"0.0.0.0/{size}") for size in (20, 28, 29, 30, 31)) + tuple(
    ip_network(f"::/{size}") for size in (64, 121, 124, 127)
)
NETWORKS = tuple(
    ip_network(text)
    for text in (
        *("10.9.0.0/30", "10.9.0.0/29", "10.9.0.8/29", "10.9.1.0/31", "10.9.1.2/32", "10.9.2.0/24"),
        *("10.64.0.4/30", "10.65.0.0/24", "fd09::/126", "fd09::8/125", "fd09:1::/64"),
        *("fd09:2::/127", "fd09:2::2/128", "fd64::20/123"),
    )
)
PARTS = (0, 0, 0, 1, 2)
"""How much longer the prefix of a range is than that of its pool; 0 is no range."""

BESIDE = tuple(
    ip_network(text)
    for text in ("10.64.0.8/29", "10.64.0.0/31", "10.65.0.9/32", "10.0.0.0/8", "fd64::/122")
)

Asker = tuple[LeaseKind, str, str]
"""The kind of the lease, and the name and the replica of whoever asks."""

Place = tuple[str, int]
"""Which of the addresses of what sort, counted round."""

POOLS = st.integers(0, 20)
KINDS = st.sampled_from([LeaseKind.DYNAMIC, LeaseKind.DYNAMIC, LeaseKind.GATEWAY])
ASKERS: st.SearchStrategy[Asker] = st.tuples(
    KINDS, st.sampled_from(["", "web", "db", "job"]), st.sampled_from(["", "", "shop/www/1"])
)
PLACES: st.SearchStrategy[Place] = st.tuples(
    st.sampled_from(["leased", "leased", "kept", "any", "end"]), st.integers(0, 7)
)


def part_of(network: IPNetwork, longer: int, at: int) -> IPNetwork | None:
    """A range of a pool."""
    if not longer:
        return None
    parts = list(network.subnets(new_prefix=min(network.prefixlen + longer, network.max_prefixlen)))
    return parts[at % len(parts)]


@st.composite
def given_pools(draw: st.DrawFn) -> PoolRequest:
    """A pool, or its like with a range."""
    network = draw(st.sampled_from(NETWORKS))
    options = draw(st.sampled_from([(), (), (("overlap", "allow"), ("sticky", "off"))]))
    return PoolRequest(
        space=draw(st.sampled_from(SPACES)),
        network=network,
        sub_range=part_of(network, draw(st.sampled_from(PARTS)), draw(st.integers(0, 3))),
        is_ipv6=network.version == 6,
        options=options,
    )


@st.composite
def automatic_pools(draw: st.DrawFn) -> PoolRequest:
    """Any pool of a family, or of a size."""
    size = draw(st.sampled_from([None, None, None, *SIZES]))
    return PoolRequest(
        space=draw(st.sampled_from(SPACES)),
        network=size,
        is_ipv6=size.version == 6 if size else draw(st.booleans()),
    )


def odd_pools() -> st.SearchStrategy[PoolRequest]:
    """Hardly one that makes sense."""
    return st.builds(
        PoolRequest,
        space=st.just(SPACES[0]),
        network=st.sampled_from([None, *SIZES, *NETWORKS]),
        sub_range=st.sampled_from([None, *NETWORKS]),
        is_ipv6=st.booleans(),
        options=st.sampled_from([(), (), (("overlap", "maybe"),)]),
    )


def asked(pool_id: PoolId, asker: Asker) -> AddressRequest:
    """A request of Engine 29, which names the container, once who that is has been looked up."""
    kind, name, service = asker
    return AddressRequest(
        pool_id=pool_id, kind=kind, owner=name, name=name, service=service if name else ""
    )
