"""Published ports of a sandbox with several networks: which of its ways out serves them."""

from __future__ import annotations

import asyncio

import pytest

from netplug.errors import PortRefused
from netplug.model import Protocol
from tests.service.ports import (
    V6,
    current,
    forwards,
    host_ports,
    other,
    publish,
    tcp,
    texts,
    web,
)
from tests.service.world import (
    DOCKERS_SANDBOX,
    World,
)


async def test_publish_that_must_not_cross_families_stays_in_its_own(world: World) -> None:
    one = await other(world)

    await world.ports.publish(one.network_id, one.id, [tcp(80, 80)], crosses_families=False)

    assert set(host_ports(world)) == {"0.0.0.0:80/tcp"}


async def test_publish_that_must_not_cross_families_passes_the_other_over(world: World) -> None:
    one = await other(world)

    await world.ports.publish(
        one.network_id, one.id, [tcp(80, 80, host_ip=V6)], crosses_families=False
    )

    assert (host_ports(world), current(world, one).ports) == ({}, ())


async def test_publish_on_both_ways_out_of_a_sandbox_is_served_once(world: World) -> None:
    four, both = await other(world, sandbox=DOCKERS_SANDBOX), await web(world)

    await world.ports.publish(four.network_id, four.id, [tcp(80, 8080)], crosses_families=False)
    await world.ports.publish(both.network_id, both.id, [tcp(80, 8080)])

    assert texts(world, four) == ["0.0.0.0:8080->80/tcp"]
    assert texts(world, both) == ["[::]:8080->80/tcp"]


async def test_publish_on_the_way_out_of_ipv4_takes_it_over(world: World) -> None:
    four, both = await other(world, sandbox=DOCKERS_SANDBOX), await web(world)
    await publish(world, both, tcp(80))
    ((port,),) = [[m.host_port for m in current(world, both).ports]]

    await world.ports.publish(four.network_id, four.id, [tcp(80)], crosses_families=False)
    await publish(world, both, tcp(80))
    assert texts(world, both) == [f"[::]:{port}->80/tcp"]
    assert [text.split(":")[0] for text in texts(world, four)] == ["0.0.0.0"]

    await world.ports.withdraw(both.id)
    await world.endpoints.delete(both.id)

    assert [text.split(" ")[1] for text in forwards(world)] == ["10.8.0.3"]


@pytest.mark.parametrize("end", ["revoke", "leave", "delete"])
@pytest.mark.parametrize("is_restarted", [False, True], ids=["", "restarted"])
async def test_publish_before_the_other_way_out_ends_gets_its_ports_then(
    world: World, end: str, is_restarted: bool
) -> None:
    old, new = await other(world, sandbox=DOCKERS_SANDBOX), await web(world)
    await publish(world, old, tcp(80, 8080), tcp(81, 8081))
    await publish(world, new, tcp(80, 8080), tcp(82, 8082))
    assert texts(world, new) == ["0.0.0.0:8082->82/tcp, [::]:8082->82/tcp"]
    if is_restarted:
        world = await world.restarted()
    ends = {
        "revoke": lambda: world.ports.withdraw(old.id, only_docker=True),
        "leave": lambda: world.ports.withdraw(old.id),
        "delete": lambda: world.ports.delete(old.id),
    }

    await ends[end]()

    assert set(texts(world, new)) == {
        "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp",
        "0.0.0.0:8082->82/tcp, [::]:8082->82/tcp",
    }
    assert "0.0.0.0:8080/tcp 10.9.0.2 80" in forwards(world)
    assert current(world, new).awaited == ()


async def test_publish_before_the_other_way_out_gives_ipv6_up_gets_that_then(world: World) -> None:
    old, new = await other(world, sandbox=DOCKERS_SANDBOX), await web(world)
    await publish(world, old, tcp(80, 8080))
    assert await publish(world, new, tcp(80, 8080)) == []

    await world.ports.publish(old.network_id, old.id, [tcp(80, 8080)], crosses_families=False)

    assert texts(world, old) == ["0.0.0.0:8080->80/tcp"]
    assert texts(world, new) == ["[::]:8080->80/tcp"]


async def test_publish_that_was_revoked_gets_nothing_of_the_other_way_out(world: World) -> None:
    one, two = await other(world, sandbox=DOCKERS_SANDBOX), await web(world)
    await publish(world, one, tcp(80, 8080))
    await publish(world, two, tcp(80, 8080))

    await world.ports.withdraw(two.id, only_docker=True)
    await world.ports.withdraw(one.id, only_docker=True)

    assert (texts(world, one), texts(world, two), host_ports(world)) == ([], [], {})


async def test_publish_of_less_gets_no_more_of_the_other_way_out(world: World) -> None:
    one, two = await other(world, sandbox=DOCKERS_SANDBOX), await web(world)
    await publish(world, one, tcp(80, 8080))
    await publish(world, two, tcp(80, 8080))

    await publish(world, two)
    await world.ports.withdraw(one.id)

    assert (texts(world, two), host_ports(world)) == ([], {})


async def test_withdraw_succeeds_where_the_other_way_out_cannot_have_the_ports(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = await other(world, sandbox=DOCKERS_SANDBOX), await web(world)
    await publish(world, old, tcp(80, 8080))
    await publish(world, new, tcp(80, 8080))
    world.kernel.port_holders[Protocol.TCP, 8080] = "nginx (pid 9)"

    await world.ports.withdraw(old.id, only_docker=True)

    assert (texts(world, old), texts(world, new), forwards(world)) == ([], [], set())
    assert "ports were not handed on" in caplog.text


async def test_publish_repeated_in_another_role_serves_what_the_role_does(world: World) -> None:
    one = await other(world)
    await world.ports.publish(one.network_id, one.id, [tcp(80)], crosses_families=False)
    ((port,),) = [[m.host_port for m in current(world, one).ports]]

    await publish(world, one, tcp(80))
    assert texts(world, one) == [f"0.0.0.0:{port}->80/tcp, [::]:{port}->80/tcp"]

    await world.ports.publish(one.network_id, one.id, [tcp(80)], crosses_families=False)
    assert texts(world, one) == [f"0.0.0.0:{port}->80/tcp"]


async def test_withdraw_waits_for_a_publish_that_is_under_way(world: World) -> None:
    one = await other(world)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(publish(world, one, tcp(80, 8080), tcp(81, 8081)))
        await asyncio.sleep(0)
        tasks.create_task(world.ports.withdraw(one.id))

    assert (current(world, one).ports, host_ports(world)) == ((), {})


async def test_publish_that_fails_gives_ipv4_back_to_the_other_way_out(world: World) -> None:
    four, both = await other(world, sandbox=DOCKERS_SANDBOX), await web(world)
    await publish(world, both, tcp(80, 8080))
    before = (current(world, both), world.built)
    world.kernel.port_holders[Protocol.TCP, 9000] = "nginx (pid 9)"
    wished = [tcp(80, 8080), tcp(81, 9000)]

    with pytest.raises(PortRefused, match="nginx"):
        await world.ports.publish(four.network_id, four.id, wished, crosses_families=False)

    assert (current(world, both), world.built) == before
