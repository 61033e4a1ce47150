"""Published ports that are taken back: by the user, by Docker, by an end, by a restart."""

from __future__ import annotations

import asyncio

import pytest

from netplug.errors import NotFound, PortRefused
from netplug.kernel.memory import MemoryKernel
from netplug.model import Origin, Protocol
from netplug.plan.diff import Delete
from netplug.service.port_mappings import mapping_text
from tests.service.ports import (
    LOOPBACK,
    V4,
    V6,
    WEB,
    after_power_loss,
    current,
    forwards,
    host_ports,
    host_tcp,
    other,
    publish,
    tcp,
    texts,
    web,
)
from tests.service.world import (
    World,
    endpoint,
    messages,
    start,
)


async def test_restart_sends_nothing_on_from_a_port_that_somebody_took(world: World) -> None:
    one = await other(world)
    await publish(world, one, tcp(80, 8080), tcp(81, 8081))
    await world.store.close()
    rebooted = MemoryKernel(port_holders={(Protocol.TCP, 8080): "nginx (pid 9)"})
    again = await start(kernel=rebooted, disk=world.disk, clock=world.clock)

    report = await again.reconciler.recover()

    assert set(host_ports(again)) == {"0.0.0.0:8081/tcp", "[::]:8081/tcp"}
    assert forwards(again) == {"0.0.0.0:8081/tcp 10.8.0.3 81"}
    assert any("nginx" in problem for problem in report.problems)
    assert not (await again.reconciler.run()).steps
    rebooted.port_holders.clear()
    await again.reconciler.run()
    assert forwards(again) == {"0.0.0.0:8080/tcp 10.8.0.3 80", "0.0.0.0:8081/tcp 10.8.0.3 81"}


async def test_publish_of_another_set_withdraws_what_is_not_in_it(world: World) -> None:
    one = await other(world)
    await publish(world, one, tcp(80, 8080), tcp(81, 8081))

    await publish(world, one, tcp(81, 8081), tcp(82, 8082))

    assert {m.host_port for m in current(world, one).ports} == {8081, 8082}
    assert {text.split("/")[0] for text in forwards(world)} == {"0.0.0.0:8081", "0.0.0.0:8082"}


async def test_add_lasts_over_what_docker_programs_and_revokes(world: World) -> None:
    one = await other(world)
    await world.ports.add(one, [tcp(90, 9090)])

    await publish(world, one, tcp(80, 8080))
    await world.ports.withdraw(one.id, only_docker=True)

    (mapping,) = current(world, one).ports
    assert (mapping.host_port, mapping.asked.origin) == (9090, Origin.PYNET)
    await world.ports.withdraw(one.id)
    assert (current(world, one).ports, forwards(world), host_ports(world)) == ((), set(), {})


async def test_remove_takes_one_port_back_and_says_which(world: World) -> None:
    one = await other(world)
    await publish(world, one, tcp(80, 8080), tcp(81, 8081))

    (gone,) = await world.ports.remove(one, host_tcp(8080))

    assert gone.asked.container_port == 80
    assert [m.host_port for m in current(world, one).ports] == [8081]
    with pytest.raises(NotFound, match="8080/tcp"):
        await world.ports.remove(one, host_tcp(8080))
    with pytest.raises(NotFound):
        await world.ports.remove(one, host_tcp(8081, host_ip=LOOPBACK))


async def test_remove_on_one_address_leaves_the_others(world: World) -> None:
    one = await web(world)
    await publish(world, one, tcp(80, 8080))

    await world.ports.remove(one, host_tcp(8080, host_ip=V6))

    assert texts(world, one) == ["0.0.0.0:8080->80/tcp"]
    assert (set(host_ports(world)), forwards(world)) == (
        {"0.0.0.0:8080/tcp"},
        {"0.0.0.0:8080/tcp 10.9.0.2 80"},
    )
    assert messages(world)[-1].endswith("no longer published: [::]:8080->80/tcp")


async def test_remove_of_ports_of_a_run_leaves_the_rest(world: World) -> None:
    one = await other(world)
    await publish(world, one, tcp(9000, 8000, count=10))

    await world.ports.remove(one, host_tcp(8001))
    await world.ports.remove(one, host_tcp(8005, 8020))

    assert texts(world, one) == [
        "0.0.0.0:8000->9000/tcp, [::]:8000->9000/tcp",
        "0.0.0.0:8002-8004->9002-9004/tcp, [::]:8002-8004->9002-9004/tcp",
    ]
    assert forwards(world) == {
        "0.0.0.0:8000/tcp 10.8.0.3 9000",
        "0.0.0.0:8002-8004/tcp 10.8.0.3 9002",
    }
    assert not (await world.reconciler.verify()).differences


async def test_remove_of_a_port_of_a_run_on_one_address_leaves_it_on_the_others(
    world: World,
) -> None:
    one = await web(world)
    await publish(world, one, tcp(9000, 8000, count=2))

    (gone,) = await world.ports.remove(one, host_tcp(8001, host_ip=V4))

    assert mapping_text(gone) == "0.0.0.0:8001->9001/tcp"
    assert texts(world, one) == ["[::]:8000-8001->9000-9001/tcp", "0.0.0.0:8000->9000/tcp"]
    assert forwards(world) == {"[::]:8000-8001/tcp fd09::2 9000", "0.0.0.0:8000/tcp 10.9.0.2 9000"}


async def test_remove_of_a_port_of_a_run_lasts_until_docker_asks_again(world: World) -> None:
    one = await other(world)
    await publish(world, one, tcp(9000, 8000, count=3))
    built = world.built
    await world.ports.remove(one, host_tcp(8001))

    await publish(world, one, tcp(9000, 8000, count=3))

    assert world.built == built


async def test_remove_that_cannot_make_the_rest_of_a_run_is_mended_later(world: World) -> None:
    one = await other(world)
    await publish(world, one, tcp(9000, 8000, count=3))
    world.kernel.port_holders[Protocol.TCP, 8002] = "nginx (pid 9)"

    await world.ports.remove(one, host_tcp(8001))
    world.kernel.port_holders.clear()
    await world.reconciler.run()

    assert {text.split("/")[0] for text in forwards(world)} == {"0.0.0.0:8000", "0.0.0.0:8002"}


async def test_withdraw_of_what_is_not_there_succeeds(world: World) -> None:
    one = await other(world)

    await world.ports.withdraw(one.id)
    await world.ports.withdraw(endpoint(WEB).id)


async def test_delete_of_an_endpoint_frees_its_ports(world: World) -> None:
    one = await other(world)
    await publish(world, one, tcp(80, 8080))

    await world.endpoints.delete(one.id)

    assert (forwards(world), host_ports(world)) == (set(), {})


async def test_restart_publishes_again(world: World) -> None:
    one = await other(world)
    await publish(world, one, tcp(80))
    built = world.built

    again = await world.restarted()

    assert again.built == built
    assert texts(again, one) == texts(world, one)


@pytest.mark.parametrize("end", ["withdraw", "delete", "delete-network"])
async def test_port_that_is_given_back_is_another_endpoints_once_it_is_free(
    world: World, end: str
) -> None:
    one, two = await web(world), await other(world)
    await publish(world, one, tcp(80, 8000, 8010))
    ends = {
        "withdraw": lambda: world.ports.withdraw(one.id),
        "delete": lambda: world.endpoints.delete(one.id),
        "delete-network": lambda: world.networks.delete(WEB.id),
    }
    begun: list[asyncio.Task[list[str]]] = []

    def begin(step: object) -> None:
        """Have the other endpoint ask for a port once the records no longer have it."""
        if isinstance(step, Delete) and not begun:
            begun.append(asyncio.create_task(publish(world, two, tcp(80, 8000, 8010))))

    world.kernel.before_step = begin
    await ends[end]()

    assert await begun[0] == ["0.0.0.0:8000->80/tcp, [::]:8000->80/tcp"]
    assert forwards(world) == {"0.0.0.0:8000/tcp 10.8.0.3 80"}
    assert set(host_ports(world)) == {"0.0.0.0:8000/tcp", "[::]:8000/tcp"}


async def test_publish_of_another_set_that_fails_leaves_what_was_before(world: World) -> None:
    one, two = await other(world), await web(world)
    await publish(world, one, tcp(80, 8080), tcp(81))
    await publish(world, two, tcp(80, 9000))
    before = (current(world, one), world.built)

    with pytest.raises(PortRefused):
        await publish(world, one, tcp(80, 8081), tcp(82, 9000))

    assert (current(world, one), world.built) == before
    assert messages(world)[-1].count("published again: 0.0.0.0:8080->80/tcp") == 1


async def test_publish_that_fails_loses_what_somebody_took_meanwhile(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = await other(world), await web(world)
    await publish(world, one, tcp(80, 8080))
    await publish(world, two, tcp(80, 9000))
    world.kernel.port_holders[Protocol.TCP, 8080] = "nginx (pid 9)"

    with pytest.raises(PortRefused, match="9000"):
        await publish(world, one, tcp(82, 9000))

    assert current(world, one).ports == ()
    assert set(host_ports(world)) == {"0.0.0.0:9000/tcp", "[::]:9000/tcp"}
    assert "ports were not published again" in caplog.text


async def test_publish_of_what_a_dead_container_had_takes_it_from_there(world: World) -> None:
    dead, also_dead = await other(world), await other(world, 4)
    await publish(world, dead, tcp(80, 8080))
    await world.ports.add(also_dead, [tcp(81, 8081)])

    again = await after_power_loss(world)
    new = await other(again, 5)

    assert await publish(again, new, tcp(80, 8080), tcp(81, 8081)) == [
        "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp",
        "0.0.0.0:8081->81/tcp, [::]:8081->81/tcp",
    ]
    assert (current(again, dead).ports, current(again, also_dead).ports) == ((), ())
    assert forwards(again) == {"0.0.0.0:8080/tcp 10.8.0.5 80", "0.0.0.0:8081/tcp 10.8.0.5 81"}


async def test_publish_of_what_a_dead_container_and_another_have_is_refused(world: World) -> None:
    dead = await other(world)
    await publish(world, dead, tcp(80, 8080))
    again = await after_power_loss(world)
    alive, new = await other(again, 4), await other(again, 5)
    await publish(again, alive, tcp(80, 9000))

    with pytest.raises(PortRefused, match="9000/tcp is in use by endpoint 4000"):
        await publish(again, new, tcp(80, 8080), tcp(81, 9000))

    assert texts(again, alive) == ["0.0.0.0:9000->80/tcp, [::]:9000->80/tcp"]


async def test_publish_that_is_refused_takes_nothing_from_one_that_joins_meanwhile(
    world: World,
) -> None:
    """Be refused all the while that another container comes, gets a port, and goes."""
    refused = await other(world)
    world.kernel.port_holders[Protocol.TCP, 9000] = "nginx (pid 9)"

    async def come_and_go() -> None:
        for number in range(4, 8):
            made = await other(world, number)
            await publish(world, made, tcp(80, 8080))
            for _ in range(20):
                await asyncio.sleep(0)
                assert current(world, made).ports
            await world.endpoints.delete(made.id)

    async with asyncio.TaskGroup() as tasks:
        coming = tasks.create_task(come_and_go())
        while not coming.done():
            with pytest.raises(PortRefused):
                await publish(world, refused, tcp(80, 8080), tcp(81, 9000))
