"""One process that leases and releases: prints the figures of one pool at one size as JSON.

`python -m integration.bench.ipam.inprocess NETWORK LEASES RUNS`
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Sequence
from ipaddress import IPv6Network, ip_network

from integration.bench.daemon import rss_mib_of
from integration.bench.ipam import filling
from integration.bench.ipam.figures import InProcess
from ipam.plugin import PoolIpam
from netplug.contract.ipam import AddressRequest
from netplug.model import HostState, IPAddress, IPNetwork
from netplug.view import View

PER_RUN = 500


class InProcessPool:
    """A pool of so many leases, in a view of its own."""

    def __init__(self, network: IPNetwork, leases: int) -> None:
        self._ipam = PoolIpam()
        self._request = AddressRequest(
            pool_id=filling.pool_id(network), owner="container-of-the-bench"
        )
        host = HostState(instance="bench", ula=IPv6Network("fd00::/48"))
        gc.collect()
        before_mib = rss_mib_of(os.getpid())
        self._view = View(host=host)
        for portion in filling.records(network, leases):
            self._view = self._view.with_records(portion)
        gc.collect()
        self.mib = rss_mib_of(os.getpid()) - before_mib

    def run(self, count: int) -> tuple[float, float]:
        """Lease and release so many; return the microseconds that each took."""
        begun = time.process_time()
        addresses = [self._lease() for _ in range(count)]
        leased = time.process_time()
        for address in addresses:
            self._release(address)
        released = time.process_time()
        return (leased - begun) / count * 1e6, (released - leased) / count * 1e6

    def _lease(self) -> IPAddress:
        grant = self._ipam.request_address(self._request, self._view, filling.NOW)
        changed = (grant.lease,) if grant.pool is None else (grant.lease, grant.pool)
        self._view = self._view.with_records(changed)
        return grant.lease.address

    def _release(self, address: IPAddress) -> None:
        pool_id = self._request.pool_id
        if lease := self._view.leases_of(pool_id).get(address):
            self._view = self._view.changed(drops=(lease,), withheld=(lease,))


def measure(network: IPNetwork, leases: int, runs: int) -> InProcess:
    """Fill a pool and time so many runs."""
    pool = InProcessPool(network, leases)
    pool.run(PER_RUN)
    took = [pool.run(PER_RUN) for _ in range(runs)]
    return InProcess(
        network=str(network),
        leases=leases,
        lease_us=tuple(lease for lease, _ in took),
        release_us=tuple(release for _, release in took),
        mib=pool.mib,
    )


def main(arguments: Sequence[str]) -> None:
    network, leases, runs = arguments
    print(json.dumps(measure(ip_network(network), int(leases), int(runs)).as_json()))


if __name__ == "__main__":
    main(sys.argv[1:])
