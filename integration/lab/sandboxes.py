"""Named network namespaces of a host, as `ip netns` makes them: endpoints without containers."""

from __future__ import annotations

from collections.abc import Sequence

from integration.lab.host import Host
from integration.lab.process import Completed

# `ping` goes on asking until the first answer comes: the way to a new address may take a second.
PATIENCE_S = 8
IN_VAIN_S = 1
_PING_ALL = """
wait_s=$1
shift
for address; do
    ping -n -c 1 -i 0.2 -w "$wait_s" "$address" >/dev/null && echo "$address" &
done
wait
"""


class Sandboxes:
    """Makes and removes them; each is known by its name."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._names: list[str] = []

    def add(self, name: str) -> str:
        """Make a sandbox and return the path by which a daemon on the host finds it."""
        self.host.run(["ip", "netns", "add", name])
        self._names.append(name)
        self.host.run(["ip", "-netns", name, "link", "set", "lo", "up"])
        return f"/run/netns/{name}"

    def remove_all(self) -> None:
        while self._names:
            self.host.run(["ip", "netns", "delete", self._names.pop()])

    def run(self, name: str, argv: Sequence[str], *, check: bool = True) -> Completed:
        return self.host.run([*self.entry(name), *argv], check=check)

    @staticmethod
    def entry(name: str) -> tuple[str, ...]:
        """The words to put before a command so that it runs in the sandbox."""
        return ("nsenter", f"--net=/run/netns/{name}")


def ping_all(addresses: Sequence[object], *, wait_s: int = PATIENCE_S) -> list[str]:
    """Return the command that pings all at once, and prints those that answer in time."""
    return ["sh", "-c", _PING_ALL, "sh", str(wait_s), *map(str, addresses)]
