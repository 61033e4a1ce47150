"""Services by their IANA names, for `_service._proto.name`.

Not the host's /etc/services: images and hosts differ in it, and answers should not.
Source: IANA Service Name and Transport Protocol Port Number Registry.
"""

from __future__ import annotations

from types import MappingProxyType

_TEXT = """
amqp 5672, amqps 5671, bgp 179, bootps 67, coap 5683, coaps 5684, couchdb 5984, discard 9,
domain 53, domain-s 853, echo 7, elasticsearch 9200, epmd 4369, etcd-client 2379, etcd-server
2380, finger 79, ftp 21, ftps 990, git 9418, http 80, http-alt 8080, https 443, imap 143, imaps
993, influxdb 8086, ipp 631, iscsi-target 3260, kerberos 88, ldap 389, ldaps 636, memcache
11211, mongodb 27017, mqtt 1883, ms-sql-s 1433, mysql 3306, nats 4222, nfs 2049, ntp 123,
openvpn 1194, pop3 110, pop3s 995, postgresql 5432, ptp-event 319, radius 1812, rdp 3389, redis
6379, rfb 5900, rsync 873, rtsp 554, secure-mqtt 8883, sip 5060, sips 5061, smtp 25, snmp 161,
ssh 22, submission 587, submissions 465, sunrpc 111, svn 3690, syslog 514, syslog-tls 6514,
telnet 23, tftp 69, turn 3478, turns 5349, stun 3478, xmpp-client 5222, xmpp-server 5269,
zookeeper 2181
"""

PORTS = MappingProxyType(
    {
        name: int(port)
        for name, port in (entry.split() for entry in _TEXT.replace("\n", " ").split(","))
    }
)


def port_of(label: str) -> int | None:
    """Return the port that `_80` or `_http` names."""
    name = label[1:]
    if name.isascii() and name.isdigit() and len(name) <= 5:
        return int(name)
    return PORTS.get(name)
