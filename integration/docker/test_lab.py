"""The lab itself, with nothing of pynet in it: what all other tests here stand on."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest

from integration.lab import Engine, Host, Lab, snapshot
from integration.lab.process import run
from integration.lab.remains import folder_of, lab_name

pytestmark = pytest.mark.needs("root", "dockerd", "docker", "busybox", "br_netfilter")

LONG_S = "600"


def test_hosts_reach_each_other_and_the_internet_but_share_nothing(lab: Lab, host: Host) -> None:
    other = lab.host()

    host.write_file("/run/only-here", "")
    host.run(["ip", "link", "add", "only0", "type", "bridge"])

    host.run(["ping", "-c", "1", "-W", "2", str(other.v4.ip)])
    host.run(["ping", "-c", "1", "-W", "2", str(other.v6.ip)])
    host.run(["ping", "-c", "1", "-W", "2", str(lab.underlay.internet_v4)])
    assert not other.path("/run/only-here").exists()
    assert not Path("/run/only-here").exists()
    assert other.run(["ip", "link", "show", "only0"], check=False).returncode != 0
    other.close()


def test_host_cut_off_loses_the_internet_until_reconnected(lab: Lab, host: Host) -> None:
    ping = ["ping", "-c", "1", "-W", "1", str(lab.underlay.internet_v4)]

    host.cut_off()
    cut_off = host.run(ping, check=False)
    host.reconnect()

    assert cut_off.returncode != 0
    host.run(["ping", "-c", "1", "-w", "5", str(lab.underlay.internet_v4)])


def test_process_killed_inside_tells_its_signal(host: Host) -> None:
    process = host.popen(["sleep", LONG_S], log="sleep")

    process.kill()

    assert process.status == -signal.SIGKILL


def test_process_hung_and_freed_still_ends_when_asked(host: Host) -> None:
    process = host.popen(["sleep", LONG_S], log="sleep")

    process.signal(signal.SIGSTOP)
    process.signal(signal.SIGCONT)
    process.stop()

    assert process.status == -signal.SIGTERM


def test_containers_outlive_a_killed_engine_and_leave_nothing(lab: Lab) -> None:
    before = snapshot.take()
    host = lab.host()
    engine = Engine(host, live_restore=True)
    engine.start()
    engine.image("pynet-box")
    engine.docker("network", "create", "plain")
    for name in ("one", "two"):
        run = ("run", "--detach", "--network", "plain", "--name", name)
        engine.docker(*run, "pynet-box", "sleep", LONG_S)
    ping = ("exec", "one", "ping", "-c", "1", "-W", "2", "two")
    engine.docker(*ping)

    engine.kill()
    engine.start()

    assert sorted(engine.docker("ps", "--format", "{{.Names}}").stdout.split()) == ["one", "two"]
    engine.docker(*ping)
    engine.kill()
    host.close()
    snapshot.wait_until_restored(before)


def test_first_picture_shows_nothing_of_a_lab_that_was_killed(tmp_path: Path) -> None:
    ended = int(run(["sh", "-c", "echo $$"]).stdout)
    left = folder_of(lab_name(ended))
    left.mkdir()

    picture = tmp_path / "picture"
    run([sys.executable, "-m", "integration.lab.snapshot", "take", str(picture)])

    assert not left.exists()
    assert str(left) not in json.loads(picture.read_text())["path"]


@pytest.mark.needs("docker-compose")
def test_compose_brings_a_project_up_and_down(host: Host) -> None:
    engine = Engine(host)
    engine.start()
    engine.image("pynet-box")
    text = f'version: "3"\nservices:\n  web:\n    image: pynet-box\n    command: sleep {LONG_S}\n'
    project = host.write_file("/run/project/docker-compose.yml", text)

    engine.compose(Path("/run/project"), "up", "--detach")

    assert project.exists()
    assert engine.docker("ps", "--format", "{{.Image}}").stdout.split() == ["pynet-box"]
    engine.compose(Path("/run/project"), "down", "--timeout", "1")
