"""What should exist, all networks together: the one side of reconciliation."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from netplug.errors import PynetError
from netplug.model import NetworkState
from netplug.plan.objects import EngineSubnet, Firewall, KernelObject
from netplug.plan.order import is_of_firewall, is_on_uplink
from netplug.service.networks import Networks
from netplug.view import View


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What should exist in a view, and what of it on uplinks.

    `problems` tell which networks cannot be planned.
    """

    view: View
    is_over: bool
    objects: frozenset[KernelObject]
    on_uplinks: frozenset[KernelObject]
    problems: tuple[str, ...]


@dataclass(slots=True)
class Desires:
    """Plans a view once: the uplinks are looked at every second.

    Once it `is_over`, nothing is shared by networks that are no more.
    """

    networks: Networks
    is_over: bool = False
    _last: Desired | None = None

    def of(self, view: View) -> Desired:
        """Return what should exist in a view."""
        last = self._last
        if last is None or last.view is not view or last.is_over is not self.is_over:
            last = self._last = self._plan(view)
        return last

    def _plan(self, view: View) -> Desired:
        objects: set[KernelObject] = set()
        problems: list[str] = []
        for network in view.networks.values():
            if network.state is NetworkState.READY:
                try:
                    objects |= self.networks.objects_of(network, view)
                except PynetError as error:
                    problems.append(f"network {network.label} cannot be planned: {error}")
        objects |= {o for o in self.networks.shared if self._is_shared_now(o, view)}
        if firewall := firewall_of(objects):
            subnets = view.engine_subnets or ()
            objects.update(
                EngineSubnet(subnet=s) for s in subnets if s.version == 4 or firewall.has_ipv6
            )
        return Desired(
            view=view,
            is_over=self.is_over,
            objects=frozenset(objects),
            on_uplinks=frozenset(o for o in objects if is_on_uplink(o)),
            problems=tuple(problems),
        )

    def _is_shared_now(self, obj: KernelObject, view: View) -> bool:
        """Return whether what networks share should be there now.

        Without a network there is no packet filter. The link is there all the same: questions to
        an address that is nobody's would leave the host, and each would wait for an answer.
        """
        return is_filtering(view) or not (is_of_firewall(obj) or self.is_over)


def is_filtering(view: View) -> bool:
    """Return whether there is a network whose packets are filtered."""
    return any(n.state is NetworkState.READY for n in view.networks.values())


def firewall_of(objects: Collection[KernelObject]) -> Firewall | None:
    """Return the firewall among `objects`."""
    return next((o for o in objects if isinstance(o, Firewall)), None)
