"""The names as they were told, to be told again. Values only."""

from __future__ import annotations

from collections import defaultdict

from netplug.contract.names import Change, Named, NamedEndpoint, NamedNetwork, NamedRecord
from netplug.model import EndpointId, NetworkId

_Key = EndpointId | tuple[str, str]


class Book:
    """Networks, and what belongs to each, whether it came before its network or after."""

    def __init__(self) -> None:
        self._networks: dict[NetworkId, NamedNetwork] = {}
        self._members: defaultdict[NetworkId, dict[_Key, Named]] = defaultdict(dict)
        self._network_of: dict[EndpointId, NetworkId] = {}

    def note(self, change: Change) -> None:
        """Make a change."""
        for item in change.drops:
            self._drop(item)
        for item in change.puts:
            self._put(item)

    def all(self) -> Change:
        """Return the change that makes this out of nothing."""
        members = (item for found in self._members.values() for item in found.values())
        return Change(puts=(*self._networks.values(), *members))

    def _put(self, item: Named) -> None:
        match item:
            case NamedNetwork():
                self._networks[item.id] = item
            case NamedEndpoint():
                if self._network_of.get(item.id) != item.network_id:
                    self._drop(item)
                self._network_of[item.id] = item.network_id
                self._members[item.network_id][item.id] = item
            case NamedRecord():
                self._members[item.network_id][item.name, item.kind] = item

    def _drop(self, item: Named) -> None:
        match item:
            case NamedNetwork():
                self._networks.pop(item.id, None)
                for member in self._members.pop(item.id, {}).values():
                    if isinstance(member, NamedEndpoint):
                        del self._network_of[member.id]
            case NamedEndpoint():
                network_id = self._network_of.pop(item.id, None)
                if network_id is not None:
                    self._members[network_id].pop(item.id, None)
            case NamedRecord():
                if item.network_id in self._members:
                    self._members[item.network_id].pop((item.name, item.kind), None)
