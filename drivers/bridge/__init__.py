"""The bridge driver: a Linux bridge a network, a veth pair an endpoint.

    BridgeDriver().plan_network(network, view)   # the bridge, its gateway addresses, masquerade
    BridgeDriver().plan_endpoint(endpoint, network, view)   # a veth pair with one end on it

Not here: published ports, and the firewall's text (`netplug.kernel.firewall`).
"""

from drivers.bridge.plan import BridgeDriver

__all__ = ["BridgeDriver"]
