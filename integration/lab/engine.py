"""A real Docker Engine inside a host."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from integration.lab import image, unix_http
from integration.lab.host import Host
from integration.lab.process import Completed, Process
from integration.lab.waiting import eventually

SOCKET = "/run/docker.sock"
START_DEADLINE_S = 60.0
STOP_GRACE_S = 30.0
DOCKER_DEADLINE_S = 120.0


class Engine:
    """dockerd with the containerd that it manages itself.

    The host's /run, /etc/docker and /var/lib/docker are its own, so dockerd runs with its
    defaults; containers go to a control group named after the host, so that it can be removed.
    """

    def __init__(
        self, host: Host, *, live_restore: bool = False, flags: Sequence[str] = ()
    ) -> None:
        self.host = host
        self.flags = (*(["--live-restore"] if live_restore else []), *flags)
        self._dockerd: Process | None = None

    @property
    def is_running(self) -> bool:
        return self._dockerd is not None and self._dockerd.is_running

    @property
    def process(self) -> Process:
        """The running dockerd."""
        assert self._dockerd is not None, "the engine was never started"
        return self._dockerd

    @property
    def socket(self) -> Path:
        """The API socket, as seen from outside the host."""
        return self.host.path(SOCKET)

    def start(self, *, wait: bool = True) -> None:
        """Start dockerd and wait until it answers; an engine at boot may wait long for plugins."""
        assert not self.is_running, "the engine is running already"
        self._dockerd = self.host.popen(
            [
                *("dockerd", "--host", f"unix://{SOCKET}"),
                *("--exec-opt", "native.cgroupdriver=cgroupfs"),
                *("--cgroup-parent", self.host.cgroup),
                *self.flags,
            ],
            log="dockerd",
        )
        if wait:
            self.wait_until_up()

    def wait_until_up(self, *, deadline_s: float = START_DEADLINE_S) -> None:
        """Wait until the engine answers requests, or until it ends.

        Raises:
            NeverHappened: it did neither before the deadline.
            ChildProcessError: it ended.
        """
        dockerd = self.process

        def up_or_ended() -> bool:
            return unix_http.answers(self.socket, "/_ping") or not dockerd.is_running

        eventually(up_or_ended, "dockerd answers", deadline_s=deadline_s, detail=dockerd.tail)
        if not dockerd.is_running:
            raise ChildProcessError(f"dockerd ended with {dockerd.status}\n{dockerd.tail()}")

    def stop(self) -> None:
        """End dockerd in an orderly way; without live-restore its containers stop too."""
        self.process.stop(grace_s=STOP_GRACE_S)

    def kill(self) -> None:
        """End dockerd as a crash would; containers run on."""
        self.process.kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def docker(
        self, *words: str, check: bool = True, timeout: float = DOCKER_DEADLINE_S
    ) -> Completed:
        """Run the docker command line inside the host.

        Raises:
            CommandFailed: its status was not 0 and `check` is set.
        """
        return self._client(["docker", *words], check=check, timeout=timeout)

    def docker_json(self, *words: str) -> Any:
        """Run a docker command that prints JSON, such as `inspect`, and return what it printed."""
        return json.loads(self.docker(*words).stdout)

    def compose(
        self, project: Path, *words: str, check: bool = True, timeout: float = DOCKER_DEADLINE_S
    ) -> Completed:
        """Run docker-compose on the file `docker-compose.yml` of a folder."""
        argv = ["docker-compose", "--project-directory", str(project)]
        argv += ["--file", str(project / "docker-compose.yml"), *words]
        return self._client(argv, check=check, timeout=timeout)

    def api(self, method: str, target: str, body: object = None) -> unix_http.Answer:
        """Call the Engine API without the command line between."""
        return unix_http.request(
            self.socket,
            method,
            target,
            body,
            timeout=DOCKER_DEADLINE_S,
            headers={"Content-Type": "application/json"},
        )

    def image(self, name: str) -> str:
        """Make sure that the busybox image is there under `name`, and return the name."""
        if self.docker("image", "inspect", name, check=False).returncode != 0:
            tarball = image.root_tarball(self.host.folder.parent)
            changes = [word for change in image.CHANGES for word in ("--change", change)]
            self.docker("import", *changes, str(tarball), name)
        return name

    def _client(self, argv: Sequence[str], *, check: bool, timeout: float) -> Completed:
        # The settings of whoever runs the tests (contexts, proxies, plugins) stay out.
        settings = {
            "DOCKER_HOST": f"unix://{SOCKET}",
            "DOCKER_CONFIG": str(self.host.folder / "docker-settings"),
        }
        return self.host.run(argv, check=check, timeout=timeout, env=settings)
