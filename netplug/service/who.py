"""Who is at an endpoint: from what the engine says to the names that it is asked for by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum

from netplug import labels
from netplug.contract.engine import EngineContainer
from netplug.model import Endpoint, EndpointId, Identity, Origin
from netplug.service.name_syntax import WILDCARD, is_name

# Docker: the beginning of an id that it shows, and makes the hostname of.
_SHORT_ID_LENGTH = 12


class NameOrigin(StrEnum):
    """Why a name is there."""

    CONTAINER = "container"
    ATTACHMENT = "attachment"
    SERVICE = "service"
    HOSTNAME = "hostname"
    SHORT_ID = "id"
    ALIAS = "alias"
    MANUAL = "manual"


def identity_of(container: EngineContainer, endpoint_id: EndpointId) -> Identity | None:
    """Return who is at an endpoint; None while the inspection does not know the endpoint.

    A container of `docker compose run` is none of its service's replicas.
    """
    aliases = container.aliases.get(endpoint_id)
    if aliases is None:
        return None
    project, service, number = _of_compose(container.labels)
    return Identity(
        aliases=aliases,
        hostname=container.hostname,
        short_id=container.id[:_SHORT_ID_LENGTH],
        project=project,
        service=service,
        number=number,
        ports=container.ports,
        links=container.links.get(endpoint_id, ()),
    )


def replica_of(endpoint: Endpoint) -> str:
    """Return which replica of a Compose service is there, as "PROJECT/SERVICE/NUMBER", or ""."""
    identity = endpoint.identity or Identity()
    return _replica(identity.project, identity.service, identity.number)


def replica_labelled(container_labels: Mapping[str, str]) -> str:
    """Return which replica of a Compose service a container is, as `replica_of` does."""
    return _replica(*_of_compose(container_labels))


def _replica(project: str, service: str, number: str) -> str:
    return f"{project}/{service}/{number}" if service else ""


def _of_compose(said: Mapping[str, str]) -> tuple[str, str, str]:
    """Return project, service and number; a one-off container has no service."""
    is_replica = said.get(labels.COMPOSE_ONE_OFF, "False").lower() != "true"
    return (
        said.get(labels.COMPOSE_PROJECT, ""),
        said.get(labels.COMPOSE_SERVICE, "") if is_replica else "",
        said.get(labels.COMPOSE_NUMBER, ""),
    )


def has_name(endpoint: Endpoint, name: str) -> bool:
    """Return whether `names_of` an endpoint has a name, which is one, in lower case.

    In a tenth of the time: it is asked of every endpoint of a network.
    """
    identity = _identity(endpoint)
    if identity is None:
        return False
    said = (endpoint.name, identity.service, identity.hostname, identity.short_id)
    return name in [text.lower() for text in (*said, *identity.aliases)]


def _identity(endpoint: Endpoint) -> Identity | None:
    """Return who is there; None while nobody said it.

    Nobody says it of an attachment that was made before attachments had aliases.
    """
    return endpoint.identity or (Identity() if endpoint.origin is Origin.PYNET else None)


def names_of(endpoint: Endpoint) -> dict[str, NameOrigin]:
    """Return the names of an endpoint in lower case, the canonical one first; wildcards last.

    While nobody said who is there, it has none. What cannot be asked for is left out.
    """
    names: dict[str, NameOrigin] = {}
    for text, origin in sorted(_said(endpoint), key=lambda pair: pair[0].startswith(WILDCARD)):
        name = text.lower()
        if name and is_name(name):
            names.setdefault(name, origin)
    return names


def _said(endpoint: Endpoint) -> Iterator[tuple[str, NameOrigin]]:
    """Yield what an endpoint is called, as it was said, the canonical name first."""
    identity = _identity(endpoint)
    if identity is None:
        return
    is_docker = endpoint.origin is Origin.DOCKER
    yield endpoint.name, NameOrigin.CONTAINER if is_docker else NameOrigin.ATTACHMENT
    yield identity.service, NameOrigin.SERVICE
    yield identity.hostname, NameOrigin.HOSTNAME
    yield identity.short_id, NameOrigin.SHORT_ID
    for alias in identity.aliases:
        yield alias, NameOrigin.ALIAS
