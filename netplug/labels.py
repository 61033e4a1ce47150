"""Docker's label keys that every driver shares, once. A driver's own keys live in its options.py.

Source: moby daemon/libnetwork/netlabel/labels.go.
"""

from __future__ import annotations

GENERIC = "com.docker.network.generic"
ENABLE_IPV4 = "com.docker.network.enable_ipv4"
ENABLE_IPV6 = "com.docker.network.enable_ipv6"
INTERNAL = "com.docker.network.internal"
DRIVER_MTU = "com.docker.network.driver.mtu"
CONTAINER_IFACE_PREFIX = "com.docker.network.container_iface_prefix"
GATEWAY = "com.docker.network.gateway"
ENDPOINT_NAME = "com.docker.network.endpoint.name"
ENDPOINT_PREFIX = "com.docker.network.endpoint."
PORT_MAP = "com.docker.network.portmap"
REQUEST_ADDRESS_TYPE = "RequestAddressType"
