"""pynet or dockerd ends and comes back while the other goes on."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from integration.conformance.client import Refused, ignore
from integration.conformance.dockerd import Dockerd
from integration.conformance.kernel import bridge_of, look, wait_until_like
from integration.conformance.methods import (
    ACTIVATION,
    CONSTANT,
    CREATE,
    DELETE,
    JOIN,
    LEAVE,
    RELEASE,
    REQUEST,
    REVOKE,
    SKIP,
)
from integration.conformance.plugin import Plugin
from integration.conformance.specs import BLUE, EndpointSpec, NetworkSpec
from integration.lab import eventually


def test_live_endpoint_outlasts_a_kill_of_pynet(plugin: Plugin, dockerd: Dockerd) -> None:
    blue = dockerd.create(NetworkSpec(name="blue", v4=(BLUE,)))
    empty = look(plugin.host)
    web = dockerd.run("web", EndpointSpec(network=blue))
    before = look(plugin.host)
    del dockerd.calls[:]

    plugin.restart_after_kill()

    assert look(plugin.host) == before
    assert web.sandbox.reaches("10.61.0.1")
    dockerd.stop(web)
    assert dockerd.calls == [REVOKE, LEAVE, DELETE, RELEASE]
    wait_until_like(plugin.host, empty)


def test_live_endpoint_outlasts_a_restart_of_pynet(plugin: Plugin, newest: Dockerd) -> None:
    blue = newest.create(NetworkSpec(name="blue", v4=(BLUE,)))
    web = newest.run("web", EndpointSpec(network=blue))
    before = look(plugin.host)

    plugin.restart()

    assert look(plugin.host) == before
    assert web.sandbox.reaches("10.61.0.1")


def test_live_restore_of_dockerd_tells_pynet_nothing(plugin: Plugin, dockerd: Dockerd) -> None:
    blue = dockerd.create(NetworkSpec(name="blue", v4=(BLUE,)))
    web = dockerd.run("web", EndpointSpec(network=blue))
    before = look(plugin.host)
    del dockerd.calls[:]

    dockerd.restart_with_live_restore()

    assert dockerd.calls[: len(ACTIVATION)] == ACTIVATION
    assert CONSTANT.issuperset(dockerd.calls)
    assert look(plugin.host) == before
    assert web.sandbox.reaches("10.61.0.1")
    del dockerd.calls[:]
    dockerd.stop(web)
    forgets = dockerd.release.forgets_roles_at_restart
    assert dockerd.calls == [*([] if forgets else [REVOKE]), LEAVE, DELETE, RELEASE]


def test_kill_of_dockerd_ends_in_clean_up_of_stale_sandboxes(
    plugin: Plugin, dockerd: Dockerd
) -> None:
    blue = dockerd.create(NetworkSpec(name="blue", v4=(BLUE,)))
    empty = look(plugin.host)
    dockerd.run("web", EndpointSpec(network=blue, ip="10.61.0.9"))

    dockerd.restart_after_kill()

    wait_until_like(plugin.host, empty)
    again = dockerd.run("web", EndpointSpec(network=blue, ip="10.61.0.9"))
    assert again.sandbox.reaches("10.61.0.1")


def test_network_left_half_deleted_is_deleted_at_the_next_start(
    plugin: Plugin, dockerd: Dockerd
) -> None:
    blue = dockerd.create(NetworkSpec(name="blue", v4=(BLUE,)))
    dockerd.remove(blue)

    dockerd.networks.append(blue)
    dockerd.restart_after_kill()
    dockerd.remove(blue)


def test_call_while_pynet_starts_waits_for_it(plugin: Plugin, either_dockerd: Dockerd) -> None:
    blue = either_dockerd.create(NetworkSpec(name="blue", v4=(BLUE,)))
    plugin.pynet.kill()
    plugin.pynet.start(wait=False)

    web = either_dockerd.run("web", EndpointSpec(network=blue))

    assert web.sandbox.reaches("10.61.0.1")


@pytest.mark.parametrize("release", ["27", "29"])
def test_run_survives_kills_of_pynet_between_any_two_calls(
    plugin: Plugin, make_dockerd: Callable[[str], Dockerd], release: str
) -> None:
    dockerd = make_dockerd(release)
    blue = dockerd.create(NetworkSpec(name="blue", v4=(BLUE,)))

    with kills_before_each_call(plugin, dockerd):
        web = dockerd.run("web", EndpointSpec(network=blue))

    assert web.sandbox.reaches("10.61.0.1")


def test_stop_survives_kills_of_pynet_between_any_two_calls(
    plugin: Plugin, newest: Dockerd
) -> None:
    blue = newest.create(NetworkSpec(name="blue", v4=(BLUE,)))
    empty = look(plugin.host)
    web = newest.run("web", EndpointSpec(network=blue))

    with kills_before_each_call(plugin, newest):
        newest.stop(web)

    wait_until_like(plugin.host, empty)


def test_create_and_remove_survive_kills_of_pynet_between_any_two_calls(
    plugin: Plugin, newest: Dockerd
) -> None:
    before = look(plugin.host)

    with kills_before_each_call(plugin, newest):
        blue = newest.create(NetworkSpec(name="blue", v4=(BLUE,)))
        assert look(plugin.host).links[bridge_of(blue.id)].addresses == {"10.61.0.1/24"}
        newest.remove(blue)

    wait_until_like(plugin.host, before)


@pytest.mark.parametrize("struck", [REQUEST, CREATE, JOIN])
def test_call_that_breaks_before_its_work_is_undone(
    plugin: Plugin, newest: Dockerd, struck: str
) -> None:
    blue = newest.create(NetworkSpec(name="blue", v4=(BLUE,)))
    before = look(plugin.host)
    counts = plugin.counts()
    newest.client.before = lambda method: freeze(plugin) if method == struck else None
    newest.client.after_sending = strike_once(struck, plugin.restart_after_kill)

    with pytest.raises(Refused, match="body is empty"):
        newest.run("web", EndpointSpec(network=blue))

    wait_until_like(plugin.host, before)
    assert plugin.counts() == counts


@pytest.mark.parametrize("struck", [REQUEST, CREATE, JOIN])
def test_call_that_breaks_after_its_work_leaves_nothing_behind_its_network(
    plugin: Plugin, newest: Dockerd, struck: str
) -> None:
    """Dockerd does not delete what it never saw made; what is left goes with its network."""
    before = look(plugin.host)
    blue = newest.create(NetworkSpec(name="blue", v4=(BLUE,)))
    ids = ["ab" * 32]
    newest.next_endpoint_id = ids.pop

    def work_is_done() -> bool:
        if struck == JOIN:
            return plugin.has_joined("ab" * 32)
        counts = plugin.counts()
        return counts["leases"] == 2 and counts["endpoints"] == int(struck == CREATE)

    def kill_when_done() -> None:
        eventually(work_is_done, f"{struck} is carried out")
        plugin.restart_after_kill()
        raise ConnectionResetError("the answer is lost")

    newest.client.after_sending = strike_once(struck, kill_when_done)
    with pytest.raises(Refused, match="body is empty"):
        newest.run("web", EndpointSpec(network=blue))
    newest.remove(blue)

    wait_until_like(plugin.host, before)


def test_kills_right_after_removals_bring_nothing_back(plugin: Plugin, newest: Dockerd) -> None:
    blue = newest.create(NetworkSpec(name="blue", v4=(BLUE,)))
    empty = look(plugin.host)
    web = newest.run("web", EndpointSpec(network=blue))
    newest.client.before = strike_once(RELEASE, plugin.restart_after_kill)

    newest.stop(web)
    plugin.restart_after_kill()

    wait_until_like(plugin.host, empty)
    assert plugin.counts() == {"networks": 1, "endpoints": 0, "pools": 1, "leases": 1}


@contextmanager
def kills_before_each_call(plugin: Plugin, dockerd: Dockerd) -> Iterator[None]:
    """Kill pynet, and start it again, before each call that depends on its state."""

    def strike(method: str) -> None:
        if method not in {*CONSTANT, SKIP}:
            plugin.restart_after_kill()

    dockerd.client.before = strike
    yield
    dockerd.client.before = ignore


def freeze(plugin: Plugin) -> None:
    """Make sure that pynet reads nothing more before it is killed."""
    plugin.pynet.process.signal(signal.SIGSTOP)


def strike_once(struck: str, strike: Callable[[], None]) -> Callable[[str], None]:
    """Return a hook that strikes at the first call of a method."""
    left = [struck]

    def hook(method: str) -> None:
        if method in left:
            left.remove(method)
            strike()

    return hook
