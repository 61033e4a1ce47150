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
    "dns": {"domain": "pynet", "address": "169.254.53.53", "clients": 2, "problems": []},
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
    "parent": "",
    "peers": ["db", "lab"],
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
    "names": ["a", "www"],
    "options": {},
    "created_at": AT,
}
NETWORK_DETAIL = {
    **NETWORK,
    "endpoints": [ENDPOINT],
    "objects": ["bridge py-4f0caaaaaaaa mtu 1450", "address 10.9.0.1/24 on py-4f0caaaaaaaa"],
}
ENDPOINT_DETAIL = {**ENDPOINT, "objects": ["veth pyv9d1ebbbbbbbb on py-4f0caaaaaaaa"]}
PORT = {
    "container": "a",
    "endpoint_id": ENDPOINT_ID,
    "network": "web",
    "network_id": NETWORK_ID,
    "protocol": "tcp",
    "host_ip": "0.0.0.0",
    "host_port": 8080,
    "host_port_end": 8080,
    "container_ip": "10.9.0.2",
    "container_port": 80,
    "container_port_end": 80,
    "origin": "docker",
    "packets": 12,
    "bytes": 720,
    "rules": [
        "ip pynet any_ports { tcp . 8080 : 10.9.0.2 . 80 }",
        "ip6 pynet any_ports { tcp . 8080 : fd12:3456:789a:bcde::2 . 80 }",
    ],
}
PORTS = [
    PORT,
    {**PORT, "host_ip": "::", "container_ip": "fd12:3456:789a:bcde::2"},
    {
        **PORT,
        "protocol": "udp",
        "host_ip": "127.0.0.1",
        "host_port": 8000,
        "host_port_end": 8009,
        "container_port": 8000,
        "container_port_end": 8009,
        "origin": "pynet",
        "packets": 0,
        "bytes": 0,
        "rules": ["ip pynet ranges { 127.0.0.1 . udp . 8000-8009 : 10.9.0.2 }"],
    },
]
COLLISION = "subnet 10.9.0.0/24 of network web overlaps 10.8.0.0/13, which is in use on link tun0"
POOL = {
    "id": "pynet-local/10.9.0.0/24",
    "space": "pynet-local",
    "network": "10.9.0.0/24",
    "range": "10.9.0.128/25",
    "auto": False,
    "sticky": True,
    "size": 254,
    "leased": 2,
    "networks": ["web"],
    "collisions": [],
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
LEASES = [
    {
        "pool": "pynet-local/10.9.0.0/24",
        "address": address,
        "kind": kind,
        "owner": owner,
        "sticky": sticky,
        "created_at": AT,
    }
    for address, kind, owner, sticky in (
        ("10.9.0.1", "gateway", "web", ""),
        ("10.9.0.2", "dynamic", "a", "kept"),
        ("10.9.0.5", "reserved", "printer", ""),
    )
]
POOL_DETAIL = {**POOL, "leases": LEASES}
FINDINGS = [
    {
        "id": "leaked address 10.9.0.7 of pool pynet-local/10.9.0.0/24",
        "fault": "leaked",
        "what": "address 10.9.0.7 of pool pynet-local/10.9.0.0/24",
        "networks": ["web"],
        "evidence": "leased since 2026-01-31, nobody has it",
        "remedy": "remove",
    },
    {
        "id": "duplicate 9d1e",
        "fault": "duplicate",
        "what": "endpoint b",
        "networks": ["web"],
        "evidence": "it has 10.9.0.2, but endpoint a has it, too",
        "remedy": "none",
    },
]
AUDIT = {"findings": FINDINGS, "problem": ""}
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
    "collisions": [COLLISION],
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
NAMES = {
    "names": [
        {
            "name": "a",
            "network": "web",
            "network_id": NETWORK_ID,
            "type": "A",
            "values": ["10.9.0.2", "10.9.0.3"],
            "origin": "service",
            "owner": "a",
            "ttl_s": 5,
        },
        {
            "name": "_pg._tcp.db",
            "network": "web",
            "network_id": NETWORK_ID,
            "type": "SRV",
            "values": ["0 0 5432 db"],
            "origin": "manual",
            "owner": "",
            "ttl_s": 5,
        },
    ]
}
LOOKUP = {
    "name": "a",
    "type": "A",
    "rcode": "NOERROR",
    "records": ["a. 5 IN A 10.9.0.2"],
    "source": "names",
    "network": "web",
    "network_id": NETWORK_ID,
    "owners": ["a"],
    "reason": "it is a name of the network web",
}
DNS_CLIENTS = {
    "clients": [
        {
            "id": "/run/netns/a",
            "kind": "own",
            "label": "a",
            "networks": ["web", "db"],
            "queries": 10,
            "hits": 7,
            "misses": 1,
            "forwarded": 2,
            "failed": 3,
            "refused": 4,
            "dropped": 5,
            "rcodes": {"NOERROR": 10},
        }
    ]
}
QUERY = {
    "at": AT,
    "client": "/run/netns/a",
    "label": "a",
    "name": "b.web.pynet",
    "type": "A",
    "rcode": "NOERROR",
    "source": "names",
    "records": ["10.9.0.3"],
    "took_ms": 0.25,
}
UNANSWERED = {**QUERY, "name": "x", "rcode": "", "records": [], "source": "nobody"}
