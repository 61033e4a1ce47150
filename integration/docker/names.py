"""The words of tests that ask pynet's DNS, from inside containers and from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from integration.docker.conftest import World
from integration.lab import dns_client, eventually
from integration.lab.dns_client import Question, Reply, Runner

DOCKER_TTL_S = 600
TTL_S = 5
# dockerd tells of a container a moment after it has started, and pynet asks it back.
LEARNED_S = 10.0


def replies(run: Runner, *questions: Question) -> list[Reply]:
    """Ask, and insist on answers."""
    answered = dns_client.ask(run, *questions)
    assert None not in answered, f"no answer: {dict(zip(questions, answered, strict=True))}"
    return [reply for reply in answered if reply is not None]


def reply(run: Runner, name: str, kind: str = "A", **how: str | int) -> Reply:
    return replies(run, Question(name, kind, **how))[0]  # type: ignore[arg-type]


def told(run: Runner, name: str, *values: str, kind: str = "A", **how: str | int) -> Reply:
    """Wait until pynet, and not Docker, answers with just these values; return the answer."""
    return _heard(
        lambda r: sorted(r.values) == sorted(values) and is_ours(r),
        f"pynet tells that {name} {kind} is {', '.join(values)}",
        run,
        Question(name, kind, **how),  # type: ignore[arg-type]
    )


def unknown(run: Runner, name: str, kind: str = "A", **how: str | int) -> Reply:
    """Wait until a name does not exist any more; return the answer."""
    question = Question(name, kind, **how)  # type: ignore[arg-type]
    return _heard(lambda r: r.rcode == "NXDOMAIN", f"{name} is unknown", run, question)


def _heard(is_right: Callable[[Reply], bool], what: str, run: Runner, question: Question) -> Reply:
    """Ask until the answer is right; that there is none is fine until then."""
    heard: list[Reply | None] = []

    def right() -> Reply | None:
        heard[:] = dns_client.ask(run, question)
        return heard[0] if heard[0] and is_right(heard[0]) else None

    return eventually(right, what, deadline_s=LEARNED_S, detail=lambda: str(*heard))


def is_ours(answered: Reply) -> bool:
    """Tell by the TTL whether an answer with values is pynet's own."""
    return bool(answered.answer) and answered.ttls != {DOCKER_TTL_S} and "AA" in answered.flags


def reverse(address: str) -> str:
    """Return the name under which an address has its PTR record."""
    return ip_address(address).reverse_pointer


def short_id(world: World, box: str) -> str:
    return str(world.inspect(box)["Id"])[:12]
