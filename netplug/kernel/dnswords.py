"""What is said to the resolver process, and what it says, between values and bytes. Pure.

Source: the docstring of `netplug.dns.control`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from netplug.contract.names import (
    Change,
    ClientCounters,
    LoggedQuery,
    NameAnswer,
    NameClient,
    Named,
    NamedEndpoint,
    NamedNetwork,
    NamedRecord,
    Source,
)
from netplug.model import NetworkId

_MOST_BYTES = 60_000  # of a message, which may be 64 KiB long

log = logging.getLogger(__name__)


def text_of(message: Mapping[str, Any]) -> bytes:
    """Return a message; addresses and networks in it become text."""
    return msgspec.json.encode(message, enc_hook=str)


def client_text(client: NameClient) -> bytes:
    """Return what is said of a client."""
    return text_of({"client": client})


def changes(change: Change) -> Iterator[bytes]:
    """Yield the messages of a change: drops, then puts, as many in each as it takes."""
    yield from _split("drops", (_dropped(item) for item in change.drops))
    yield from _split("puts", (_put(item) for item in change.puts))


def counters(clients: Mapping[str, Mapping[str, Any]]) -> dict[str, ClientCounters]:
    """Return the counters that one message has."""
    return {key: msgspec.convert(value, ClientCounters) for key, value in clients.items()}


def answer(value: Mapping[str, Any]) -> NameAnswer:
    """Return the answer to a lookup."""
    network_id = value.get("network_id")
    return NameAnswer(
        rcode=value["rcode"],
        records=tuple(value.get("records", ())),
        source=Source(value.get("source", Source.NAMES)),
        network_id=NetworkId(network_id) if network_id else None,
        owners=tuple(value.get("owners", ())),
        reason=value.get("reason", ""),
    )


def logged(value: Mapping[str, Any]) -> LoggedQuery:
    """Return one question of the log."""
    return LoggedQuery(
        at=datetime.fromtimestamp(value["at"], UTC),
        client_id=value["client_id"],
        label=value["label"],
        name=value["name"],
        kind=value["kind"],
        rcode=value["rcode"],
        source=Source(value["source"]),
        records=tuple(value.get("records", ())),
        took_s=value.get("took_s", 0.0),
    )


def _split(what: str, items: Iterable[bytes]) -> Iterator[bytes]:
    held: list[bytes] = []
    size = 0
    for item in items:
        if len(item) > _MOST_BYTES:
            log.warning("too long for the resolver, left out", extra={"start": item[:100].decode()})
            continue
        if size + len(item) > _MOST_BYTES:
            yield _message(what, held)
            held, size = [], 0
        held.append(item)
        size += len(item) + 1
    if held:
        yield _message(what, held)


def _message(what: str, items: Sequence[bytes]) -> bytes:
    return b'{"change":{"%s":[%s]}}' % (what.encode(), b",".join(items))


def _put(item: Named) -> bytes:
    text = text_of({_kind(item): item})
    if isinstance(item, NamedEndpoint) and len(text) > _MOST_BYTES:
        return text_of({_kind(item): replace(item, ports=())})  # it exposes thousands
    return text


def _dropped(item: Named) -> bytes:
    match item:
        case NamedRecord():
            key: dict[str, str] = {
                "network_id": item.network_id,
                "name": item.name,
                "kind": item.kind,
            }
        case _:
            key = {"id": item.id}
    return text_of({_kind(item): key})


def _kind(item: Named) -> str:
    match item:
        case NamedNetwork():
            return "network"
        case NamedEndpoint():
            return "endpoint"
        case NamedRecord():
            return "record"
