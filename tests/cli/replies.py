"""Replies of the admin API, as docs/admin-api.md shows them."""

AT = "2026-01-31T12:00:00Z"
NETWORK_ID = "4f0c" + 60 * "a"
ENDPOINT_ID = "9d1e" + 60 * "b"

STATUS = {
    "version": "0.1.0",
    "pid": 7,
    "state": "ready",
    "uptime_s": 11532.5,
    "state_dir": "/var/lib/pynet",
    "store": "sqlite",
    "plugin_socket": "/run/docker/plugins/pynet.sock",
    "admin_socket": "/run/pynet/pynet.sock",
    "engine": {"endpoint": "unix:///run/docker.sock", "version": "20.10.24", "problem": ""},
    "networks": 1,
    "endpoints": 2,
    "pools": 1,
    "leases": 3,
    "last_reconcile": {"at": AT, "steps": 0, "problem": ""},
}
NETWORK = {
    "id": NETWORK_ID,
    "name": "web",
    "driver": "bridge",
    "origin": "pynet",
    "internal": False,
    "ipv4": True,
    "ipv6": True,
    "state": "ready",
    "options": {"mtu": "1450"},
    "subnets": [
        {"pool": "10.9.0.0/24", "gateway": "10.9.0.1", "aux": {"printer": "10.9.0.9"}},
        {"pool": "fd12:3456:789a:bcde::/64", "gateway": None, "aux": {}},
    ],
    "link": "py-4f0caaaaaaaa",
    "endpoint_count": 1,
    "created_at": AT,
}
ENDPOINT = {
    "id": ENDPOINT_ID,
    "name": "a",
    "network_id": NETWORK_ID,
    "network": "web",
    "origin": "pynet",
    "mac": "02:42:0a:09:00:02",
    "addresses": ["10.9.0.2/24", "fd12:3456:789a:bcde::2/64"],
    "link": "pyv9d1ebbbbbbbb",
    "sandbox": "/run/netns/a",
    "joined": True,
    "options": {},
    "created_at": AT,
}
NETWORK_DETAIL = {
    **NETWORK,
    "endpoints": [ENDPOINT],
    "objects": ["bridge py-4f0caaaaaaaa mtu 1450", "address 10.9.0.1/24 on py-4f0caaaaaaaa"],
}
ENDPOINT_DETAIL = {**ENDPOINT, "objects": ["veth pyv9d1ebbbbbbbb on py-4f0caaaaaaaa"]}
POOL = {
    "id": "pynet-local/10.9.0.0/24",
    "space": "pynet-local",
    "network": "10.9.0.0/24",
    "range": "10.9.0.128/25",
    "auto": False,
    "size": 254,
    "leased": 2,
    "networks": ["web"],
    "created_at": AT,
}
LARGE_POOL = {
    **POOL,
    "id": "pynet-local/fd12:3456:789a:bcde::/64",
    "network": "fd12:3456:789a:bcde::/64",
    "range": None,
    "auto": True,
    "size": 2**64 - 1,
}
POOL_DETAIL = {
    **POOL,
    "leases": [
        {"address": "10.9.0.1", "kind": "gateway", "owner": "web", "created_at": AT},
        {"address": "10.9.0.2", "kind": "endpoint", "owner": "a", "created_at": AT},
    ],
}
PLAN = {
    "steps": [
        {"action": "create", "object": "bridge py-4f0caaaaaaaa mtu 1450", "reason": "missing"},
        {"action": "delete", "object": "veth pyv0 on py-4f0caaaaaaaa", "reason": "unwanted"},
    ]
}
VERIFICATION = {
    "checked": 42,
    "differences": ["bridge py-4f0caaaaaaaa is missing"],
    "foreign": ["py-stray carries our group, but not our mark"],
}
EVENTS = [
    {
        "at": AT,
        "kind": "network.create",
        "network": NETWORK_ID,
        "endpoint": "",
        "message": "network web created: bridge py-4f0caaaaaaaa, 10.9.0.0/24",
    },
    {
        "at": AT,
        "kind": "endpoint.join",
        "network": NETWORK_ID,
        "endpoint": ENDPOINT_ID,
        "message": "endpoint a joined web",
    },
]
