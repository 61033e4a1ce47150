"""Questions that others answer, the test being Docker's resolver: passed on, kept, put together."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rrset
import pytest

from netplug.dns.forward import (
    STALE_AFTER_S,
)
from netplug.dns.splice import _both
from netplug.dns.upstream import RETRY_S
from tests.dns.conftest import Rig
from tests.dns.forwarding import NAME, Docker, reply_to, sent


def test_question_and_answer_pass_unchanged_but_for_the_id(rig: Rig, docker: Docker) -> None:
    client, _ = rig.client()
    option = dns.edns.GenericOption(65001, b"odd")
    text = sent(client, "eXample.COM", "TYPE4711", use_edns=0, payload=3000, options=[option])
    docker.give_socket()

    passed_on = docker.heard()
    reply = reply_to(dns.message.from_wire(passed_on), "TYPE4711 \\# 3 abcdef").to_wire() + b""
    docker.say(reply)

    assert passed_on[2:] == text[2:]
    assert rig.until(lambda: client.recv(65536)) == text[:2] + reply[2:]


def test_answer_is_kept_for_its_ttl_and_grows_older(rig: Rig, docker: Docker) -> None:
    client, _ = rig.client()
    sent(client)
    docker.give_socket()
    docker.answer("A 192.0.2.1")
    assert rig.answer(client).answer[0].ttl == 100

    rig.later(60)
    sent(client, "EXAMPLE.com")

    reply = rig.answer(client)
    assert (reply.answer[0].ttl, str(reply.question[0].name)) == (40, "EXAMPLE.com.")
    assert rig.control.clients["c1"].counters.hits == 1


def test_other_clients_do_not_get_what_is_kept(rig: Rig, docker: Docker) -> None:
    client, _ = rig.client()
    other, _ = rig.client("c2")
    sent(client)
    docker.give_socket()
    docker.answer("A 192.0.2.1")
    rig.answer(client)

    sent(other)

    assert rig.heard()["client"] == "c2"


@pytest.mark.parametrize(
    ("name", "records", "rcode", "ttl"),
    [
        (NAME, ("A 192.0.2.1",), 0, 600),  # a name that only dockerd has
        (NAME, ("A 192.0.2.1",), 0, 0),
        (NAME, (), 2, 0),
        (NAME, (), 3, 0),  # without a SOA
        (NAME, ("SOA a. b. 1 1 1 1 50",), 3, 50),  # dockerd may have it the next moment
        (NAME, ("SOA a. b. 1 1 1 1 50",), 0, 50),
    ],
)
def test_what_may_not_be_kept_is_asked_again(
    rig: Rig, docker: Docker, name: str, records: tuple[str, ...], rcode: int, ttl: int
) -> None:
    client, _ = rig.client()
    sent(client, name)
    docker.give_socket()
    for _ in range(2):
        docker.answer(*records, rcode=rcode, ttl=ttl)
        assert rig.answer(client).rcode() == rcode
        sent(client, name)
    assert docker.heard()


@pytest.mark.parametrize("records", [["NULL \\# 0"] * 65, ["TXT " + '"' + "x" * 250 + '"'] * 17])
def test_fat_answer_is_passed_on_but_not_kept(rig: Rig, docker: Docker, records: list[str]) -> None:
    client, _ = rig.client()
    sent(client, NAME, "ANY", use_edns=0, payload=4096)
    docker.give_socket()
    query = dns.message.from_wire(docker.heard())
    reply = reply_to(query)
    for number, record in enumerate(records):
        kind, _, value = record.partition(" ")
        owner = dns.name.from_text(f"x{number}.example.com")
        reply.answer.append(dns.rrset.from_text(owner, 100, "IN", kind, value))

    docker.say(reply.to_wire(max_size=65535))

    assert rig.answer(client).rcode() == 0
    sent(client, NAME, "ANY", use_edns=0, payload=4096)
    assert docker.heard()


def test_equal_questions_are_asked_once(rig: Rig, docker: Docker) -> None:
    client, _ = rig.client()
    for number in range(5):
        sent(client, NAME if number % 2 else NAME.upper(), id=number)
    docker.give_socket()

    docker.answer("A 192.0.2.1")

    assert {rig.answer(client).id for _ in range(5)} == set(range(5))
    assert rig.is_silent(docker.sock)


def test_answer_of_docker_may_take_long(rig: Rig, docker: Docker) -> None:
    client, _ = rig.client()
    sent(client)
    docker.give_socket()

    for _ in range(12):
        rig.later(1)
    docker.answer("A 192.0.2.1")

    assert rig.answer(client).answer


def test_stale_answer_is_better_than_none_and_replaced_by_a_late_one(
    rig: Rig, docker: Docker
) -> None:
    client, _ = rig.client()
    sent(client)
    docker.give_socket()
    docker.answer("A 192.0.2.1")
    rig.answer(client)
    rig.later(1000)
    sent(client)
    docker.give_socket()
    assert rig.is_silent(client)

    rig.later(STALE_AFTER_S + 0.2)
    reply = rig.answer(client)
    docker.answer("A 192.0.2.2")
    rig.turns()

    assert (str(reply.answer[0][0]), reply.answer[0].ttl) == ("192.0.2.1", 30)
    assert str(rig.ask(client, NAME).answer[0][0]) == "192.0.2.2"


def test_after_a_failure_the_stale_answer_is_given_at_once_for_a_while(
    rig: Rig, docker: Docker
) -> None:
    client, _ = rig.client()
    sent(client)
    docker.give_socket()
    docker.answer("A 192.0.2.1")
    rig.answer(client)
    rig.later(101)
    sent(client)
    docker.give_socket()
    docker.answer(rcode=2)

    assert rig.answer(client).answer[0].ttl == 30
    assert rig.ask(client, NAME).answer[0].ttl == 30
    rig.later(RETRY_S + 1)
    sent(client)
    docker.give_socket()
    assert docker.heard()


def test_forged_answers_are_not_taken(rig: Rig, docker: Docker) -> None:
    client, _ = rig.client()
    sent(client)
    docker.give_socket()
    query = docker.heard()
    good = reply_to(dns.message.from_wire(query), "A 192.0.2.1").to_wire()
    wrong_id = bytes([good[0] ^ 1]) + good[1:]
    wrong_name = good.replace(b"example", b"exemple")
    for forged in (wrong_id, wrong_name, query, good[:11], b"", good[:2]):
        docker.say(forged)
    assert rig.is_silent(client)

    docker.say(good)

    assert rig.answer(client).answer


def test_cname_of_ours_that_leads_outside_is_answered_with_what_is_there(
    rig: Rig, docker: Docker
) -> None:
    record = {"network_id": "n1", "name": "away", "kind": "CNAME", "values": ["example.com."]}
    rig.put({"record": record})
    client, _ = rig.client()
    sent(client, "Away.Front")
    docker.give_socket()
    query = docker.answer("A 192.0.2.1")

    reply = rig.answer(client)

    assert str(query.question[0].name) == NAME
    assert str(reply.question[0].name) == "Away.Front."
    lines = [line for rrset in reply.answer for line in rrset.to_text().splitlines()]
    assert lines == ["Away.Front. 5 IN CNAME example.com.", "example.com. 100 IN A 192.0.2.1"]
    assert len(rig.ask(client, "away").answer) == 2  # from what is kept of theirs


def test_cname_of_ours_that_leads_outside_fails_with_it(rig: Rig, docker: Docker) -> None:
    record = {"network_id": "n1", "name": "away", "kind": "CNAME", "values": ["example.com."]}
    rig.put({"record": record})
    shut_in, _ = rig.client("c2", forwards=False)
    client, _ = rig.client()
    assert str(rig.ask(shut_in, "away").answer[0][0]) == NAME

    sent(client, "away")
    docker.give_socket()
    docker.answer(rcode=2)

    assert rig.answer(client).rcode() == 2


def test_cname_of_ours_that_leads_to_a_fat_answer_is_not_taken_apart(
    rig: Rig, docker: Docker
) -> None:
    record = {"network_id": "n1", "name": "away", "kind": "CNAME", "values": ["example.com."]}
    rig.put({"record": record})
    client, _ = rig.client()
    sent(client, "away", use_edns=0, payload=4096)
    docker.give_socket()
    docker.answer(*(f"A 10.9.{i}.1" for i in range(65)))

    reply = rig.answer(client)

    assert reply.flags & dns.flags.TC
    assert not reply.answer


def test_answer_of_ours_and_others_is_put_together_once_for_all_that_wait(
    rig: Rig, docker: Docker
) -> None:
    names = ["away", "gone"]
    for name in names:
        record = {"network_id": "n1", "name": name, "kind": "CNAME", "values": ["example.com."]}
        rig.put({"record": record})
    client, _ = rig.client()
    _both.cache_clear()
    for number in range(20):
        sent(client, ["away", "aWay", "gone", "goNE"][number % 4], id=number)
    docker.give_socket()

    for _ in names:
        docker.answer("A 192.0.2.1")

    replies = [rig.answer(client) for _ in range(20)]
    assert {reply.id for reply in replies} == set(range(20))
    assert {str(reply.answer[0].name) for reply in replies} == {"away.", "aWay.", "gone.", "goNE."}
    assert _both.cache_info().misses == 2
