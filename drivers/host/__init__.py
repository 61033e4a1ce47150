"""The host driver: endpoints on the host's own network, without a bridge and without translation.

    HostDriver().plan_network(network, view)   # what lets the host route, or the shim
    HostDriver().plan_endpoint(endpoint, network, view)   # a routed veth, or a macvlan or ipvlan

Not here: what the firewall makes of it (`netplug.kernel.firewall`), and the giving back of switches
(`netplug.service`).
"""

from drivers.host.plan import HostDriver

__all__ = ["HostDriver"]
