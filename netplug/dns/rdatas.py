"""Names and values as dnspython has them."""

from __future__ import annotations

import functools
import ipaddress

import dns.exception
import dns.name
import dns.rdata
import dns.rdatatype
from dns.rdataclass import IN
from dns.rdatatype import RdataType
from dns.rdtypes.ANY.CNAME import CNAME
from dns.rdtypes.ANY.HINFO import HINFO
from dns.rdtypes.ANY.PTR import PTR
from dns.rdtypes.ANY.SOA import SOA
from dns.rdtypes.ANY.TXT import TXT
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA
from dns.rdtypes.IN.SRV import SRV

from netplug.contract.names import NamedNetwork, NamedRecord
from netplug.model import IPAddress

# An address stands for its A or AAAA record: there are many, and values of dnspython's are slow to
# make and to compare.
Data = dns.rdata.Rdata | IPAddress

# They are imported here since dnspython would do so at the first use, when the process may no
# longer read files that only root can.
TYPES = (A, AAAA, CNAME, HINFO, PTR, SOA, SRV, TXT)

_MANY = 4096
_SOA_TIMES_S = (3600, 600, 86400)  # refresh, retry, expire: for secondaries, which there are not


def name_of(canonical: str) -> dns.name.Name:
    """Return a canonical name as an absolute one.

    Raises:
        dns.exception.DNSException: it is no name. What a question had is always one.
    """
    return _name(canonical)


def canonical_of(name: dns.name.Name) -> str:
    """Return a name as `netplug.dns.zone.canonical` has it."""
    labels = (label.lower().decode("latin-1") for label in name.labels if label)
    return ".".join(label.replace("\\", "\\\\").replace(".", "\\.") for label in labels)


def ptr(target: dns.name.Name) -> dns.rdata.Rdata:
    """Return a PTR."""
    return PTR(IN, RdataType.PTR, target)  # type: ignore[no-untyped-call]


def srv(port: int, target: dns.name.Name) -> dns.rdata.Rdata:
    """Return a SRV without priority or weight."""
    return SRV(IN, RdataType.SRV, 0, 0, port, target)  # type: ignore[no-untyped-call]


def soa(server: dns.name.Name, person: dns.name.Name, ttl_s: int) -> dns.rdata.Rdata:
    """Return a SOA that tells how long there is nothing."""
    times_s = (*_SOA_TIMES_S, ttl_s)
    return SOA(IN, RdataType.SOA, server, person, 1, *times_s)  # type: ignore[no-untyped-call]


def hinfo() -> dns.rdata.Rdata:
    """Return the answer to ANY. Source: RFC 8482, section 4.2."""
    return HINFO(IN, RdataType.HINFO, b"RFC8482", b"")  # type: ignore[no-untyped-call]


def fqdn(local: str, network: NamedNetwork, domain: str) -> dns.name.Name | None:
    """Return `name.network.DOMAIN`; None where that is no name, or would be a wildcard."""
    if local.startswith("*"):
        return None
    encoded = network.name.lower().encode("utf-8", "surrogateescape").decode("latin-1")
    try:
        return _name(f"{local}.{encoded}.{domain}")
    except dns.exception.DNSException:
        return None


def kind_of(data: Data) -> RdataType:
    """Return the type of a record."""
    if isinstance(data, dns.rdata.Rdata):
        kind: RdataType = data.rdtype
        return kind
    return RdataType.A if data.version == 4 else RdataType.AAAA


def text_of(data: Data) -> str:
    """Return the value of a record as text."""
    return data.to_text() if isinstance(data, dns.rdata.Rdata) else str(data)


@functools.lru_cache(_MANY)
def parsed(record: NamedRecord) -> tuple[Data, ...]:
    """Return the values of a record, without those that do not parse.

    Names without a dot at their end are left relative.
    """
    kind = dns.rdatatype.from_text(record.kind)
    datas: list[Data] = []
    for value in record.values:
        try:
            if kind in (RdataType.A, RdataType.AAAA):
                address = ipaddress.ip_address(value)
                datas += [address] if kind_of(address) == kind else []
                continue
            datas.append(dns.rdata.from_text(IN, kind, value, relativize=False))
        except (dns.exception.DNSException, ValueError, UnicodeError):
            continue
    return tuple(datas)


@functools.lru_cache(_MANY)
def _name(canonical: str) -> dns.name.Name:
    """Return a name; a dot or backslash within a label is escaped by a backslash."""
    if not canonical:
        return dns.name.root
    labels = [label.encode("latin-1") for label in _split(canonical)]
    return dns.name.Name([*labels, b""])


def _split(canonical: str) -> list[str]:
    if "\\" not in canonical:
        return canonical.split(".")
    labels, is_escaped = [""], False
    for character in canonical:
        if is_escaped or character not in "\\.":
            labels[-1] += character
            is_escaped = False
        elif character == ".":
            labels.append("")
        else:
            is_escaped = True
    return labels
