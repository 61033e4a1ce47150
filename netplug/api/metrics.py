"""The admin socket's /v1/metrics: what can be counted, as Prometheus reads it.

pynet_networks, pynet_endpoints, pynet_published_ports, pynet_leases
pynet_dns_queries_total{client, kind}           and the like, for each who may ask for names
pynet_dns_answers_total{client, kind, rcode}
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from aiohttp import web

from netplug.api.admin_wire import Services
from netplug.contract.names import ClientCounters
from netplug.errors import DeadlineExceeded
from netplug.view import View

if TYPE_CHECKING:
    from prometheus_client import Metric

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_DNS = {
    "queries": "Questions that were read.",
    "hits": "Questions that were answered from a cache.",
    "misses": "Questions that were looked up among the names.",
    "forwarded": "Questions that were passed on.",
    "dropped": "Questions over the share of who asked, which got no answer.",
}
_Labels = tuple[str, str]


async def metrics(services: Services) -> web.Response:
    """Return everything that is counted; without the resolver, what is known without it."""
    try:
        counted = await services.names.names.statistics()
    except DeadlineExceeded:
        counted = {}
    clients = {client.id: client for client in services.names.served()}
    by_label: dict[_Labels, list[ClientCounters]] = {}
    for client_id, counters in counted.items():
        client = clients.get(client_id)
        labels = (client.label, client.kind.value) if client else (client_id, "host")
        by_label.setdefault(labels, []).append(counters)
    view = services.networks.state.view
    text = await asyncio.to_thread(_text, view, by_label)  # the library takes 0.1 s to import
    return web.Response(body=text, headers={"Content-Type": _CONTENT_TYPE})


def _text(view: View, dns: Mapping[_Labels, list[ClientCounters]]) -> bytes:
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.registry import Collector

    class Everything(Collector):
        def collect(self) -> Iterator[Metric]:
            yield from _gauges(view)
            yield from _counters(dns)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Everything())
    return generate_latest(registry)


def _gauges(view: View) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    ports = sum(len(e.ports) for e in view.endpoints.values())
    leases = sum(len(leases) for leases in view.leases.values())
    for name, what, value in (
        ("networks", "Networks of this host.", len(view.networks)),
        ("endpoints", "Endpoints of this host.", len(view.endpoints)),
        ("published_ports", "Ports, or ranges of ports, that are published.", ports),
        ("leases", "Addresses that are leased.", leases),
    ):
        yield GaugeMetricFamily(f"pynet_{name}", what, value=value)


def _counters(dns: Mapping[_Labels, list[ClientCounters]]) -> Iterator[Metric]:
    """Yield what was asked; containers of one name count as one."""
    from prometheus_client.core import CounterMetricFamily

    for name, what in _DNS.items():
        family = CounterMetricFamily(f"pynet_dns_{name}", what, labels=["client", "kind"])
        for labels, counters in dns.items():
            family.add_metric(labels, sum(getattr(c, name) for c in counters))
        yield family
    answers = CounterMetricFamily(
        "pynet_dns_answers", "Answers, by their code.", labels=["client", "kind", "rcode"]
    )
    for labels, counters in dns.items():
        for rcode in sorted({code for c in counters for code in c.rcodes}):
            answers.add_metric((*labels, rcode), sum(c.rcodes.get(rcode, 0) for c in counters))
    yield answers
