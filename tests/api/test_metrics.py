"""What is counted, as Prometheus reads it."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from netplug.contract.names import ClientCounters
from tests.api.conftest import Client
from tests.api.test_admin import attached
from tests.service.world import World

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def samples(admin: Client) -> Samples:
    async with admin.session.get("http://x/v1/metrics") as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/plain")
        families = text_string_to_metric_families(await response.text())
    return {(s.name, frozenset(s.labels.items())): s.value for f in families for s in f.samples}


async def test_metrics_count_what_there_is_and_what_was_asked(admin: Client, world: World) -> None:
    world.names.start()
    await attached(admin)
    (client,) = world.names.served()
    counted = ClientCounters(queries=9, hits=7, forwarded=1, rcodes={"NOERROR": 8, "NXDOMAIN": 1})
    world.dns.counters = {client.id: counted, "host": ClientCounters(queries=2)}

    found = await samples(admin)

    who = frozenset({("client", "a"), ("kind", "own")})
    assert found["pynet_networks", frozenset()] == 1
    assert found["pynet_endpoints", frozenset()] == 1
    assert found["pynet_dns_queries_total", who] == 9
    assert found["pynet_dns_forwarded_total", who] == 1
    assert found["pynet_dns_answers_total", who | {("rcode", "NXDOMAIN")}] == 1
    host = frozenset({("client", "host"), ("kind", "host")})
    assert found["pynet_dns_queries_total", host] == 2


async def test_metrics_without_the_resolver_are_those_that_are_known(
    admin: Client, world: World
) -> None:
    world.dns.is_hung = True

    found = await samples(admin)

    assert found["pynet_networks", frozenset()] == 0
    assert not [name for name, _ in found if name.startswith("pynet_dns")]
