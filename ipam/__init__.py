"""Which pool, which address: pure choices over the view, which the service then commits.

    >>> from datetime import UTC, datetime
    >>> from ipaddress import IPv6Network
    >>> from ipam.plugin import PoolIpam
    >>> from netplug.contract.ipam import AddressRequest, PoolRequest
    >>> from netplug.model import HostState
    >>> from netplug.view import View
    >>> now = datetime(2025, 1, 1, tzinfo=UTC)
    >>> ipam = PoolIpam()
    >>> view = View(host=HostState(instance="a", ula=IPv6Network("fd12:3456:789a::/48")))
    >>> pool = ipam.request_pool(PoolRequest(space="local"), view, (), now).pool
    >>> pool.id
    'local/10.208.0.0/24'
    >>> view = view.with_records([pool])
    >>> ipam.request_address(AddressRequest(pool_id=pool.id), view, now).lease.address
    IPv4Address('10.208.0.1')

Not here: storing and releasing (`netplug.service.addresses`), what the host routes
(`netplug.kernel`), Docker's spelling (`netplug.api.wire`).
"""
