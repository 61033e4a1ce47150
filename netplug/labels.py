"""Label keys of Docker that all drivers share, and of Compose. A driver's own: its options.py.

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
NO_PROXY_6TO4 = "com.docker.network.driver.private.no_proxy_6to4"
REQUEST_ADDRESS_TYPE = "RequestAddressType"

# Source: docker/compose pkg/api/labels.go.
COMPOSE_PROJECT = "com.docker.compose.project"
COMPOSE_SERVICE = "com.docker.compose.service"
COMPOSE_NUMBER = "com.docker.compose.container-number"
COMPOSE_ONE_OFF = "com.docker.compose.oneoff"
