"""A DNS server as a provider has it, which answers for the internet and for nothing of pynet's."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from integration.lab.process import Process
from integration.lab.waiting import eventually

TTL_S = 60
_STARTED = "started, version"


class Place(Protocol):
    """Where a server runs, like `Host` and `Underlay`."""

    def popen(self, argv: Sequence[str], *, log: str) -> Process: ...


class Upstream:
    """dnsmasq on an address. It knows `names`, and every name under `zone`; stop it.

    What it is asked can be read in its log, unless it `is_quiet`.
    """

    zone = "example"
    answer = "203.0.113.9"

    def __init__(
        self,
        place: Place,
        address: object,
        names: Mapping[str, str] | None = None,
        *,
        is_quiet: bool = False,
    ) -> None:
        self.address = str(address)
        self._process = place.popen(
            [
                *("dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"),
                *("--bind-interfaces", f"--listen-address={address}", f"--local-ttl={TTL_S}"),
                "--address=/#/",  # all else does not exist
                f"--address=/{self.zone}/{self.answer}",
                *(f"--host-record={name},{ip}" for name, ip in (names or {}).items()),
                *([] if is_quiet else ["--log-queries"]),
            ],
            log=f"upstream-{address}",
        )
        eventually(
            lambda: _STARTED in self._process.output() or not self._process.is_running,
            f"a DNS server on {address}",
            detail=self._process.tail,
        )
        assert self._process.is_running, self._process.tail()

    def stop(self) -> None:
        self._process.stop()

    def asked(self) -> list[str]:
        """The names that it was asked for so far, in lower case, in order."""
        return [name.lower() for name in re.findall(r"query\[\S+\] (\S+) ", self._process.output())]

    def never_asked(self, belongs: Callable[[str], bool]) -> list[str]:
        """Return the names of a kind that it was asked for, which should be none."""
        return [name for name in self.asked() if belongs(name)]
