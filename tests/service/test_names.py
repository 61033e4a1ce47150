"""What the DNS is told: all of it once, and then what each commit changes, at once."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from netplug import model
from netplug.contract.engine import EngineContainer, EngineEndpoint, EngineNetwork
from netplug.contract.names import (
    Change,
    ClientKind,
    NameClient,
    NamedEndpoint,
    NamedNetwork,
    NamedRecord,
    RecordKind,
)
from netplug.errors import Conflict
from netplug.model import Endpoint, Identity, Network, Protocol
from netplug.service.names import HOST_CLIENT, NameDirectory
from netplug.service.standalone import AttachWish, NetworkWish
from tests.service.names import MemoryNames
from tests.service.world import DOCKERS_SANDBOX, NETNS, World, joined, network

WEB = network(1)
WHO = Identity(
    aliases=("Shop", "*.shop", "not a name"), hostname="web-host", short_id="0123456789ab"
)


@pytest.fixture
def dns(world: World) -> MemoryNames:
    return world.dns


@pytest.fixture
def directory(world: World) -> NameDirectory:
    world.names.start()
    return world.names


async def known(world: World, endpoint: Endpoint, name: str = "web") -> Endpoint:
    """Let the endpoint be known as the engine tells it."""
    who = replace(endpoint, name=name, identity=WHO)
    await world.state.commit(puts=(who,))
    return who


@pytest.mark.usefixtures("directory")
async def test_a_network_is_told_when_it_is_built(world: World, dns: MemoryNames) -> None:
    await world.networks.create(network(1, options=[("dns_ttl", "60")]))

    told = NamedNetwork(
        id=WEB.id, name="100000000000", ttl_s=60, subnets=(ip_network("10.1.0.0/24"),)
    )
    assert dns.take() == [Change(puts=(told,))]


@pytest.mark.usefixtures("directory")
async def test_join_serves_the_sandbox_before_it_is_answered(
    world: World, dns: MemoryNames
) -> None:
    await world.networks.create(WEB)
    dns.take()

    container = await joined(world, WEB)

    nameless = NamedEndpoint(
        id=container.id,
        network_id=WEB.id,
        label=container.label,
        addresses=(ip_address("10.1.0.2"),),
    )
    client = NameClient(
        id=DOCKERS_SANDBOX,
        kind=ClientKind.OVERLAY,
        label=container.label,
        network_ids=(WEB.id,),
        netns=DOCKERS_SANDBOX,
    )
    assert dns.take() == [Change(puts=(nameless,)), client]


@pytest.mark.usefixtures("directory")
async def test_identity_gives_the_endpoint_its_names(world: World, dns: MemoryNames) -> None:
    await world.networks.create(WEB)
    container = await joined(world, WEB)

    await known(world, container)

    assert dns.endpoints[container.id].names == (
        "web",
        "web-host",
        "0123456789ab",
        "shop",
        "*.shop",
    )
    assert dns.clients[DOCKERS_SANDBOX].label == "web"


@pytest.mark.usefixtures("directory")
async def test_what_the_engine_tells_becomes_names_with_one_change(
    world: World, dns: MemoryNames
) -> None:
    await world.networks.create(WEB)
    container = await joined(world, WEB)
    listed = EngineEndpoint(id=container.id, name="web-1", container_id="c" * 64)
    world.engine.listed = {
        WEB.id: EngineNetwork(
            id=WEB.id, name="front", driver="pynet", endpoints={container.id: listed}
        )
    }
    world.engine.inspectable = {
        "c" * 64: EngineContainer(
            id="c" * 64,
            name="web-1",
            hostname="h",
            labels={"com.docker.compose.service": "web", "com.docker.compose.project": "shop"},
            aliases={container.id: ("web-1", "www")},
            ports=((Protocol.TCP, 80),),
        )
    }
    dns.take()

    await world.identities.learn(world.engine.snapshot(world.clock.now()))

    named = dns.endpoints[container.id]
    assert (named.names, named.ports) == (
        ("web-1", "web", "h", "cccccccccccc", "www"),
        ((Protocol.TCP, 80),),
    )
    assert len([told for told in dns.take() if isinstance(told, Change)]) == 2  # network, endpoint

    await world.identities.learn(world.engine.snapshot(world.clock.now()))
    assert dns.take() == []


@pytest.mark.usefixtures("directory")
async def test_rename_changes_one_endpoint_and_no_socket(world: World, dns: MemoryNames) -> None:
    await world.networks.create(WEB)
    before = await known(world, await joined(world, WEB))
    dns.take()

    await world.state.commit(puts=(replace(before, name="db"),))

    change, client = dns.take()
    assert isinstance(change, Change)
    assert [e.names[0] for e in change.puts if isinstance(e, NamedEndpoint)] == ["db"]
    assert (len(change.puts), change.drops) == (1, ())
    assert client == replace(dns.clients[DOCKERS_SANDBOX], label="db")


@pytest.mark.usefixtures("directory")
async def test_delete_takes_the_names_back_and_closes_the_sandbox(
    world: World, dns: MemoryNames
) -> None:
    await world.networks.create(WEB)
    container = await known(world, await joined(world, WEB))
    dns.take()

    await world.endpoints.delete(container.id)

    change, forgotten = dns.take()
    assert isinstance(change, Change)
    assert [e.id for e in change.drops if isinstance(e, NamedEndpoint)] == [container.id]
    assert (forgotten, dns.clients) == (DOCKERS_SANDBOX, {})


@pytest.mark.usefixtures("directory")
async def test_a_sandbox_on_two_networks_is_one_client_outside_first_then_by_name(
    world: World, dns: MemoryNames
) -> None:
    inside = replace(network(2), is_internal=True, name="a")
    networks = [replace(network(3), name="z"), inside, replace(network(4), name="b")]
    for one in networks:
        await world.networks.create(one)
    for number, one in enumerate(networks):
        await joined(world, one, 2 + number)

    z, a, b = (n.id for n in networks)
    assert [c.network_ids for c in dns.clients.values()] == [(b, z, a)]

    await world.state.commit(puts=(replace(world.state.view.networks[z], name="aa"),))
    assert [c.network_ids for c in dns.clients.values()] == [(z, b, a)]


@pytest.mark.usefixtures("directory")
async def test_a_network_that_goes_takes_everything_along(world: World, dns: MemoryNames) -> None:
    await world.networks.create(WEB)
    await joined(world, WEB)

    await world.networks.delete(WEB.id)

    assert (dns.known, dns.clients) == ({}, {})


@pytest.mark.usefixtures("directory")
async def test_dns_off_tells_nothing(world: World, dns: MemoryNames) -> None:
    off = network(1, options=[("dns", "off")])
    await world.networks.create(off)
    await known(world, await joined(world, off))

    assert (dns.known, dns.clients) == ({}, {})


@pytest.mark.usefixtures("directory")
async def test_dns_gateway_listens_on_the_bridge_and_in_no_sandbox(
    world: World, dns: MemoryNames
) -> None:
    asked = network(1, "10.9.0.1/24", "fd09::1/64", options=[("dns", "gateway")])
    await world.networks.create(asked)
    await joined(world, asked)

    assert dns.clients == {
        f"gateway/{asked.id}": NameClient(
            id=f"gateway/{asked.id}",
            kind=ClientKind.GATEWAY,
            label="100000000000",
            network_ids=(asked.id,),
            listen=(ip_address("10.9.0.1"), ip_address("fd09::1")),
        )
    }
    assert len(dns.endpoints) == 1

    await world.networks.delete(asked.id)
    assert dns.clients == {}


@pytest.mark.usefixtures("directory")
@pytest.mark.parametrize("is_internal", [False, True])
async def test_attach_is_a_client_of_its_own_with_its_names(
    world: World, dns: MemoryNames, is_internal: bool
) -> None:
    await world.standalone.create(NetworkWish(name="lab", is_internal=is_internal))

    made = await world.standalone.attach(
        AttachWish(network="lab", netns=NETNS, name="Left", aliases=("l", "*.left"))
    )

    client = dns.clients[NETNS]
    assert (client.kind, client.label, client.forwards) == (
        ClientKind.OWN,
        "Left",
        not is_internal,
    )
    assert dns.endpoints[made.id].names == ("left", "l", "*.left")


async def test_start_tells_everything_at_once(world: World, dns: MemoryNames) -> None:
    await world.networks.create(WEB)
    await known(world, await joined(world, WEB))
    await world.records.add(WEB.id, "db", ["10.1.0.9"])
    address = ip_address("169.254.53.53")

    NameDirectory(networks=world.networks, names=dns, host_address=address).start()

    host, change, client = dns.take()
    assert host == NameClient(
        id=HOST_CLIENT, kind=ClientKind.HOST, label="host", listen=(address,), forwards=False
    )
    assert isinstance(change, Change)
    assert [type(put) for put in change.puts] == [NamedNetwork, NamedEndpoint, NamedRecord]
    assert client == dns.clients[DOCKERS_SANDBOX]


async def test_start_leaves_out_a_namespace_that_was_a_process_of_before(
    world: World, dns: MemoryNames
) -> None:
    world.kernel.namespaces = frozenset({*world.kernel.namespaces, "/proc/7/ns/net"})
    await world.standalone.create(NetworkWish(name="lab"))
    await world.standalone.attach(AttachWish(network="lab", netns="/proc/7/ns/net", name="a"))
    again = await world.restarted()

    NameDirectory(networks=again.networks, names=dns).start()

    assert (len(dns.endpoints), dns.clients) == (1, {})


async def test_namespace_of_a_process_of_before_is_served_once_something_is_attached_there_anew(
    world: World,
) -> None:
    netns = "/proc/7/ns/net"
    world.kernel.namespaces = frozenset({*world.kernel.namespaces, netns})
    await world.standalone.create(NetworkWish(name="lab"))
    await world.standalone.attach(AttachWish(network="lab", netns=netns, name="a"))
    again = await world.restarted()
    again.names.start()

    await again.standalone.detach("a")
    await again.standalone.attach(AttachWish(network="lab", netns=netns, name="b"))

    assert [client.label for client in again.dns.clients.values()] == ["b"]


async def test_stop_tells_nothing_more(
    world: World, dns: MemoryNames, directory: NameDirectory
) -> None:
    directory.stop()

    await world.networks.create(WEB)

    assert dns.told == []


@pytest.mark.parametrize(
    ("name", "told"),
    [(63 * "x", 63 * "x"), (64 * "x", WEB.short_id), (f"a.{64 * 'x'}", WEB.short_id)],
)
@pytest.mark.usefixtures("directory")
async def test_network_whose_name_cannot_be_asked_for_goes_by_its_id(
    world: World, dns: MemoryNames, name: str, told: str
) -> None:
    await world.networks.create(replace(WEB, name=name))

    assert dns.networks == [told]


@pytest.mark.usefixtures("directory")
async def test_a_record_is_told_as_a_zone_file_has_it(world: World, dns: MemoryNames) -> None:
    await world.networks.create(WEB)
    dns.take()

    await world.records.add(WEB.id, "db", ['say "hi"\té'], model.RecordKind.TXT)
    await world.records.remove(WEB.id, "db")

    record = NamedRecord(
        network_id=WEB.id,
        name="db",
        kind=RecordKind.TXT,
        values=('"say \\"hi\\"\\009\\195\\169"',),
    )
    assert dns.take() == [Change(puts=(record,)), Change(drops=(record,))]


async def test_what_was_recorded_before_names_were_kept_has_none(
    world: World, dns: MemoryNames
) -> None:
    await world.networks.create(WEB)
    container = await joined(world, WEB)
    await world.state.commit(puts=(replace(container, name="web"),))

    NameDirectory(networks=world.networks, names=dns).start()

    assert dns.endpoints[container.id].names == ()


@pytest.mark.usefixtures("directory")
async def test_a_network_without_endpoints_that_is_learned_again_tells_nothing(
    world: World, dns: MemoryNames
) -> None:
    made: Network = await world.networks.create(WEB)
    dns.take()

    await world.state.commit(puts=(made,))

    assert dns.take() == []


@pytest.mark.usefixtures("directory")
async def test_names_that_a_container_has_for_others_are_left_to_docker(
    world: World, dns: MemoryNames
) -> None:
    await world.networks.create(replace(WEB, name="Front"))
    endpoint = await joined(world, WEB)
    assert dns.clients[endpoint.sandbox].left_to_docker == ()

    who = replace(endpoint, identity=Identity(links=("DB", "db")))
    await world.state.commit(puts=(who,))
    assert dns.clients[endpoint.sandbox].left_to_docker == ("db", "db.front")

    await world.state.commit(puts=(replace(endpoint, identity=Identity()),))
    assert dns.clients[endpoint.sandbox].left_to_docker == ()


@pytest.mark.usefixtures("directory")
async def test_attachment_of_the_release_before_has_its_name(
    world: World, dns: MemoryNames
) -> None:
    await world.standalone.create(NetworkWish(name="lab"))
    attached = await world.standalone.attach(AttachWish(network="lab", netns=NETNS, name="a"))

    await world.state.commit(puts=(replace(attached, identity=None),))

    assert dns.endpoints[attached.id].names == ("a",)
    with pytest.raises(Conflict):
        await world.records.add("lab", "a", ["10.0.0.9"])
