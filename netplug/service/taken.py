"""Which host ports pynet has given away, found by number."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from netplug.errors import PortTaken
from netplug.model import Endpoint, PortMapping, Protocol
from netplug.view import View


class TakenPorts:
    """The published ports of a view, and those put since. One pass over its endpoints to build.

    `held` returns a mapping on those addresses alone on which its host port is really held: it is
    asked about those only that are in question.
    """

    def __init__(self, view: View, held: Callable[[PortMapping, Endpoint], PortMapping]) -> None:
        self._held = held
        self._single: dict[tuple[Protocol, int], list[tuple[PortMapping, Endpoint]]]
        self._single = defaultdict(list)
        self._runs: list[tuple[PortMapping, Endpoint]] = []
        for endpoint in view.endpoints.values():
            for mapping in endpoint.ports:
                self.put(mapping, endpoint)

    def put(self, mapping: PortMapping, endpoint: Endpoint) -> None:
        """Note a mapping of `endpoint`."""
        if mapping.asked.count > 1:
            self._runs.append((mapping, endpoint))
        else:
            self._single[mapping.asked.protocol, mapping.host_port].append((mapping, endpoint))

    def refuse(self, mapping: PortMapping, by: Endpoint) -> None:
        """Refuse a mapping of `by` that overlaps one of these.

        Raises:
            PortTaken: with the endpoint that has it.
        """
        mapping = self._held(mapping, by)
        candidates = list(self._runs)
        if mapping.asked.count > 1:
            candidates += [entry for entries in self._single.values() for entry in entries]
        else:
            candidates += self._single.get((mapping.asked.protocol, mapping.host_port), ())
        for other, endpoint in candidates:
            if mapping.overlaps(other) and mapping.overlaps(self._held(other, endpoint)):
                first = max(mapping.host_port, other.host_port)
                raise PortTaken(f"{first}/{mapping.asked.protocol}", f"endpoint {endpoint.label}")
