"""What engines said, cut down to one network with one container; 28 and 29 differ as noted."""

from __future__ import annotations

import json

from netplug.model import EndpointId, NetworkId

WEB_NETWORK = NetworkId("fae734f0657dac80dce00e6f3d92fe44c2327c518474774949cb650b884c1f3d")
WEB_CONTAINER = "67a6cfd5974f65796274a88a12f265f149659b1d91671aed2c4d1bb4721c3d7e"
WEB_ENDPOINT = EndpointId("701f542f77cfc040061cccef64e11458a8718fe04d4ba1f6da95f81deedcb3f4")
STRAY_ENDPOINT = EndpointId("5441d4a9a6c814bdd2e6d2b1d91ba939f939a134df9e6089c111169f0ac9838e")

ENGINE_ID = "QTK2:YGSU:U3HD:UN4U:NEP2:KHGH:NRWG:4OMD:I6NX:V7KX:DCRP:2WZI"

INFO_20_10 = {
    "ID": ENGINE_ID,
    "Containers": 1,
    "Plugins": {"Network": ["bridge", "host", "ipvlan", "macvlan", "null", "overlay"]},
    "Name": "host-a",
    "ServerVersion": "20.10.24+dfsg1",
    "LiveRestoreEnabled": False,
    "ContainerdCommit": {"ID": "1.6.20~ds1-1+deb12u3", "Expected": "1.6.20~ds1-1+deb12u3"},
    "InitCommit": {"ID": "", "Expected": ""},
}
INFO_29 = {
    **INFO_20_10,
    "ServerVersion": "29.0.1",
    "LiveRestoreEnabled": True,
    "FirewallBackend": {"Driver": "iptables"},
}

NETWORK_20_10 = {
    "Name": "front",
    "Id": WEB_NETWORK,
    "Created": "2026-11-23T19:32:13.303696565Z",
    "Scope": "local",
    "Driver": "pynet",
    "EnableIPv6": False,
    "IPAM": {
        "Driver": "pynet",
        "Options": {},
        "Config": [{"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"}],
    },
    "Internal": False,
    "Attachable": False,
    "Ingress": False,
    "ConfigFrom": {"Network": ""},
    "ConfigOnly": False,
    "Containers": {
        WEB_CONTAINER: {
            "Name": "web",
            "EndpointID": WEB_ENDPOINT,
            "MacAddress": "02:42:ac:12:00:02",
            "IPv4Address": "172.18.0.2/16",
            "IPv6Address": "",
        },
        f"ep-{STRAY_ENDPOINT}": {
            "Name": "stray",
            "EndpointID": STRAY_ENDPOINT,
            "MacAddress": "02:42:ac:12:00:03",
            "IPv4Address": "172.18.0.3/16",
            "IPv6Address": "",
        },
    },
    "Options": {},
    "Labels": {},
}
# API 1.48 adds EnableIPv4; API 1.52 adds Status and may leave an empty mapping out.
NETWORK_28 = {**NETWORK_20_10, "EnableIPv4": True}
NETWORK_29 = {
    **NETWORK_28,
    "Status": {"IPAM": {"Subnets": {"172.18.0.0/16": {"IPsInUse": 5}}}},
    "Options": None,
    "Labels": None,
}

CONTAINER_20_10 = {
    "Id": WEB_CONTAINER,
    "Created": "2026-11-23T19:32:13.303696565Z",
    "Name": "/web",
    "State": {"Status": "running", "Running": True},
    "HostConfig": {
        "NetworkMode": "front",
        "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}], "53/udp": None},
    },
    "Config": {
        "Hostname": "67a6cfd5974f",
        "Domainname": "",
        "ExposedPorts": {"80/tcp": {}, "9000-9001/tcp": {}, "443/tcp": {}},
        "Labels": {
            "com.docker.compose.project": "shop",
            "com.docker.compose.service": "www",
            "com.docker.compose.container-number": "1",
            "com.docker.compose.oneoff": "False",
        },
    },
    "NetworkSettings": {
        "Bridge": "",
        "SandboxKey": "/var/run/docker/netns/4e1c0f2a9b77",
        "Networks": {
            "front": {
                "IPAMConfig": None,
                "Links": None,
                "Aliases": ["shop", "*.shop", "67a6cfd5974f"],
                "NetworkID": WEB_NETWORK,
                "EndpointID": WEB_ENDPOINT,
                "IPAddress": "172.18.0.2",
            },
            "back": {"Aliases": None, "NetworkID": "", "EndpointID": ""},
        },
    },
}
# API 1.44 adds DNSNames, and 1.45 takes the short id out of Aliases.
_FRONT_29 = {
    **CONTAINER_20_10["NetworkSettings"]["Networks"]["front"],  # type: ignore[index]
    "Aliases": ["shop", "*.shop"],
    "DNSNames": ["web", "shop", "*.shop", "67a6cfd5974f"],
    "Links": ["db2:db", "cache"],
    "GwPriority": 0,
}
CONTAINER_29 = {**CONTAINER_20_10, "NetworkSettings": {"Networks": {"front": _FRONT_29}}}
# What a container without anything says.
CONTAINER_BARE = {
    "Id": WEB_CONTAINER,
    "Name": "/web",
    "HostConfig": {"PortBindings": None},
    "Config": {"Hostname": "h", "Labels": None},
    "NetworkSettings": {"Networks": {"front": None}},
}

LISTED_20_10 = {
    "Id": WEB_CONTAINER,
    "Names": ["/proxy/shop", "/web"],
    "Image": "bb",
    "Labels": {"com.docker.compose.service": "www"},
    "State": "running",
    "Status": "Up 2 seconds",
    "HostConfig": {"NetworkMode": "front"},
    "NetworkSettings": {
        "Networks": {
            "front": {
                "IPAMConfig": {"IPv4Address": "172.18.0.9"},
                "NetworkID": WEB_NETWORK,
                "EndpointID": WEB_ENDPOINT,
                "IPAddress": "172.18.0.9",
            },
            "back": {"IPAMConfig": {}, "NetworkID": "", "EndpointID": ""},
            "lan": {"IPAMConfig": None, "NetworkID": "", "EndpointID": ""},
        }
    },
}
# One that is being removed: it has lost its names.
LISTED_BARE = {
    "Id": "5441d4a9a6c8",
    "Names": [],
    "Labels": None,
    "State": "removing",
    "NetworkSettings": {"Networks": {"front": None}},
}

RENAMED_20_10 = {
    "status": "rename",
    "id": WEB_CONTAINER,
    "from": "bb",
    "Type": "container",
    "Action": "rename",
    "Actor": {
        "ID": WEB_CONTAINER,
        "Attributes": {
            "com.docker.compose.service": "web",
            "image": "bb",
            "name": "web2",
            "oldName": "/web",
        },
    },
    "scope": "local",
    "time": 1795462334,
    "timeNano": 1795462334036243292,
}
# API 1.52 drops status, id and from.
RENAMED_29 = {k: v for k, v in RENAMED_20_10.items() if k not in ("status", "id", "from")}
CONNECTED = {
    "Type": "network",
    "Action": "connect",
    "Actor": {
        "ID": WEB_NETWORK,
        "Attributes": {"container": WEB_CONTAINER, "name": "front", "type": "pynet"},
    },
    "scope": "local",
    "time": 1795462333,
    "timeNano": 1795462333618442054,
}


def listed(network: dict[str, object]) -> list[dict[str, object]]:
    """Return the reply of GET /networks, which names no containers (since API 1.28)."""
    return [{**network, "Containers": {}}]


def encoded(reply: object) -> bytes:
    """Return a reply as the engine writes it: compact, with a line feed."""
    return json.dumps(reply, separators=(",", ":")).encode() + b"\n"
