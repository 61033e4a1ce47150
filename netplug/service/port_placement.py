"""Choose a host port for each mapping where the user did not, and publish it there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from types import MappingProxyType

from netplug.errors import PortRefused, PortTaken, PynetError
from netplug.model import Endpoint, Network, PortMapping, PortRequest
from netplug.plan.objects import KernelObject
from netplug.service.converge import NOTHING, converge, dismantle
from netplug.service.port_addresses import Reach
from netplug.service.port_mappings import PortMappings
from netplug.service.taken import TakenPorts
from netplug.service.wishes import Wish, anywhere, grouped

NOTHING_CHOSEN: Mapping[PortRequest, int] = MappingProxyType({})


@dataclass(slots=True, kw_only=True)
class PortPlacement:
    """Publishes ports. It knows which ephemeral port was the last; those behind it come next."""

    mappings: PortMappings
    _last_ephemeral: int = field(default=0)

    async def add(
        self,
        requests: Sequence[PortRequest],
        reach: Reach,
        network: Network,
        chosen: Mapping[PortRequest, int] = NOTHING_CHOSEN,
    ) -> tuple[PortMapping, ...]:
        """Publish `requests` besides the ports of the endpoint, and record them.

        `chosen` are the host ports that some of them had so far, `anywhere`. To be called with the
        endpoint held.

        Raises:
            PortRefused: which mapping cannot be published and why; none is then.
        """
        m, endpoint = self.mappings, reach.endpoint
        made: list[PortMapping] = []
        taken = TakenPorts(m.view, m.held)
        wishes = (Wish(request, reach.host_ips(request)) for request in requests)
        groups = grouped(wish for wish in wishes if wish.host_ips)
        staying = m.plan(endpoint, network, endpoint.ports)
        standing = set(staying)
        try:
            for group in groups:
                candidates = self._candidates(group[0], endpoint)
                if before := chosen.get(anywhere(group[0].request)):
                    candidates = chain([before], candidates)
                mappings = await self._place(group, endpoint, network, taken, standing, candidates)
                for mapping in mappings:
                    taken.put(mapping, endpoint)
                made += mappings
            whole = replace(endpoint, ports=(*endpoint.ports, *made))
            await m.change_link(endpoint, whole, network)
            await m.endpoints.networks.state.commit(puts=(whole,))
        except BaseException:
            await dismantle(m.plan(endpoint, network, made) - staying, m.kernel)
            with_made = replace(endpoint, ports=(*endpoint.ports, *made))
            await m.restore_link(with_made, endpoint, network)
            raise
        if made:
            m.note("ports.publish", "published", endpoint, network, made)
        return tuple(made)

    async def _place(
        self,
        group: Sequence[Wish],
        endpoint: Endpoint,
        network: Network,
        taken: TakenPorts,
        standing: set[KernelObject],
        candidates: Iterable[int],
    ) -> list[PortMapping]:
        """Publish a group on the first of the host ports that is free for all of it.

        `standing` is what the ports so far are made of: two may open the same port of the endpoint.
        """
        text = ", ".join(wish.request.text for wish in group)
        last_error: PynetError | None = None
        for host_port in candidates:
            mappings = [wish.at(host_port) for wish in group]
            try:
                for mapping in mappings:
                    taken.refuse(mapping, endpoint)
                objects = self.mappings.plan(endpoint, network, mappings) - standing
                await converge(objects, NOTHING, self.mappings.kernel)
            except PortTaken as error:
                last_error = error
                continue
            except PynetError as error:
                raise PortRefused(text, str(error)) from error
            standing |= objects
            is_held = bool(self.mappings.held(mappings[0], endpoint).host_ips)
            if is_held and not group[0].request.host_port:
                self._last_ephemeral = host_port
            return mappings
        raise PortRefused(text, _why_none(group[0].request, last_error)) from last_error

    def _candidates(self, wish: Wish, endpoint: Endpoint) -> Iterator[int]:
        """Yield the host ports that would do; the ephemeral ones from behind the last one on.

        Where the host holds no port, the number is that of the container's.
        """
        request = wish.request
        if request.host_port:
            yield from range(request.host_port, max(request.host_port, request.host_port_end) + 1)
            return
        if not self.mappings.held(wish.at(request.container_port), endpoint).host_ips:
            yield request.container_port
            return
        first, last = self.mappings.view.facts.ephemeral_ports
        start = self._last_ephemeral + 1 if first <= self._last_ephemeral < last else first
        yield from range(start, last + 1)
        yield from range(first, start)


def _why_none(request: PortRequest, last_error: PynetError | None) -> str:
    if request.host_port and request.host_port_end <= request.host_port:
        return str(last_error)
    return f"no host port of the range is free: {last_error}"
