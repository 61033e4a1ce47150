"""The options of a bridge network: every key, every value, every way to get them wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.bridge.options import (
    BridgeOptions,
    GatewayMode,
    Isolation,
    parse,
)
from drivers.options import interface_name, unknown_key
from netplug.contract.driver import NameMode
from netplug.errors import InvalidOptions

DOCKER = "com.docker.network.bridge."
KEYS = {
    "name": DOCKER + "name",
    "mtu": "com.docker.network.driver.mtu",
    "icc": DOCKER + "enable_icc",
    "masquerade": DOCKER + "enable_ip_masquerade",
    "gateway_mode_ipv4": DOCKER + "gateway_mode_ipv4",
    "gateway_mode_ipv6": DOCKER + "gateway_mode_ipv6",
    "inhibit_ipv4": DOCKER + "inhibit_ipv4",
    "iface_prefix": "com.docker.network.container_iface_prefix",
}
VALUES = {
    "name": ("br-web", BridgeOptions(name="br-web")),
    "mtu": ("9000", BridgeOptions(mtu_bytes=9000)),
    "icc": ("false", BridgeOptions(has_icc=False)),
    "masquerade": ("0", BridgeOptions(masquerades=False)),
    "gateway_mode_ipv4": ("routed", BridgeOptions(gateway_mode_ipv4=GatewayMode.ROUTED)),
    "gateway_mode_ipv6": ("isolated", BridgeOptions(gateway_mode_ipv6=GatewayMode.ISOLATED)),
    "inhibit_ipv4": ("", BridgeOptions(inhibits_ipv4=True)),
    "iface_prefix": ("lan", BridgeOptions(iface_prefix="lan")),
}


def problems_of(raw: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(InvalidOptions) as refusal:
        parse(raw)
    return refusal.value.problems


def test_parse_of_nothing_gives_the_defaults() -> None:
    assert parse({}) == BridgeOptions()


@pytest.mark.parametrize("key", KEYS)
def test_parse_takes_the_plain_key_and_dockers(key: str) -> None:
    text, expected = VALUES[key]

    assert parse({key: text}) == parse({KEYS[key]: text}) == expected


@pytest.mark.parametrize("key", KEYS)
def test_parse_of_both_keys_with_one_value_takes_it(key: str) -> None:
    text, expected = VALUES[key]

    assert parse({key: text, KEYS[key]: text}) == expected


def test_parse_of_both_keys_with_two_values_shows_the_contradiction() -> None:
    (problem,) = problems_of({"mtu": "1500", KEYS["mtu"]: "1400"})

    assert problem == (
        "com.docker.network.driver.mtu='1400' contradicts '1500', given under another key"
    )


def test_parse_lists_every_problem_at_once() -> None:
    raw = {"mtu": "big", "icc": "maybe", "nmae": "br0", "gateway_mode_ipv4": "nowhere"}

    assert len(problems_of(raw)) == 4


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("mut", "mtu"),
        ("masquarade", "masquerade"),
        ("gateway_mode", "gateway_mode_ipv6"),
        ("com.docker.network.bridge.enable_ipmasq", DOCKER + "enable_ip_masquerade"),
        ("com.docker.network.mtu", "com.docker.network.driver.mtu"),
    ],
)
def test_parse_of_an_unknown_key_names_the_nearest(key: str, nearest: str) -> None:
    assert problems_of({key: "1"}) == (f"unknown option {key!r}, did you mean {nearest!r}?",)


def test_unknown_key_without_anything_near_names_nothing() -> None:
    assert unknown_key("zzz", KEYS) == "unknown option 'zzz'"


@pytest.mark.parametrize("text", ["1", "t", "T", "true", "True", "TRUE", ""])
def test_parse_of_a_flag_takes_what_go_takes_for_true(text: str) -> None:
    assert parse({"inhibit_ipv4": text}).inhibits_ipv4 is True


@pytest.mark.parametrize("text", ["0", "f", "F", "false", "False", "FALSE"])
def test_parse_of_a_flag_takes_what_go_takes_for_false(text: str) -> None:
    assert parse({"icc": text}).has_icc is False


@pytest.mark.parametrize("text", ["yes", "on", "2", "null", " true"])
def test_parse_of_a_flag_refuses_other_words(text: str) -> None:
    assert problems_of({"icc": text}) == (f"icc={text!r}: true or false is wanted",)


@pytest.mark.parametrize(("text", "mtu_bytes"), [("0", 0), ("68", 68), ("65535", 65535)])
def test_parse_of_an_mtu_takes_the_kernels_range_and_zero(text: str, mtu_bytes: int) -> None:
    assert parse({"mtu": text}).mtu_bytes == mtu_bytes


@pytest.mark.parametrize("text", ["67", "65536", "-1"])
def test_parse_of_an_mtu_outside_the_range_names_it(text: str) -> None:
    assert problems_of({"mtu": text}) == (f"mtu={text!r}: an MTU lies between 68 and 65535 bytes",)


@pytest.mark.parametrize("text", ["", "1500 bytes", "0x5dc", "1e3"])
def test_parse_of_an_mtu_that_is_no_number_says_so(text: str) -> None:
    assert problems_of({"mtu": text}) == (f"mtu={text!r}: a number of bytes is wanted",)


@pytest.mark.parametrize("text", ["a", "br-web", "br.100", "x" * 15])
def test_interface_name_the_kernel_takes_is_taken(text: str) -> None:
    assert interface_name(text) == text


@pytest.mark.parametrize("text", ["", "a b", "a/b", "a:b", ".", "..", "x" * 16, "ä", "a\n", "%d"])
def test_interface_name_the_kernel_refuses_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"an interface name|at most"):
        interface_name(text)


def test_parse_of_a_prefix_leaves_room_for_dockerds_number() -> None:
    assert parse({"iface_prefix": "x" * 12}).iface_prefix == "x" * 12
    assert problems_of({"iface_prefix": "x" * 13}) == (
        f"iface_prefix={'x' * 13!r}: at most 12 characters",
    )


@pytest.mark.parametrize(
    ("text", "is_on"), [("on", True), ("off", False), ("true", True), ("0", False), ("", True)]
)
def test_parse_of_the_spoof_guard_takes_on_and_off_and_flags(text: str, is_on: bool) -> None:
    assert parse({"spoof_guard": text}).guards_spoofing is is_on


def test_parse_of_an_unknown_word_for_the_spoof_guard_names_both() -> None:
    assert problems_of({"spoof_guard": "strict"}) == ("spoof_guard='strict': on or off is wanted",)


@pytest.mark.parametrize("text", ["none", "ports"])
def test_parse_of_an_isolation_takes_it(text: str) -> None:
    assert parse({"isolate": text}).isolation == Isolation(text)


@pytest.mark.parametrize(
    ("text", "hint"), [("port", ", did you mean 'ports'?"), ("containers", ""), ("", "")]
)
def test_parse_of_an_unknown_isolation_names_the_nearest(text: str, hint: str) -> None:
    assert problems_of({"isolate": text}) == (
        f"isolate={text!r}: one of none, ports is wanted{hint}",
    )


def test_parse_of_an_unknown_mode_names_the_modes() -> None:
    assert problems_of({"gateway_mode_ipv4": "nat-unprotected"}) == (
        "gateway_mode_ipv4='nat-unprotected': one of nat, routed, isolated is wanted",
    )


@pytest.mark.parametrize("text", ["overlay", "gateway", "off"])
def test_parse_of_where_names_are_asked_for_takes_it(text: str) -> None:
    assert parse({"dns": text}).name_mode == NameMode(text)


def test_parse_of_another_place_for_names_says_which_there_are() -> None:
    assert problems_of({"dns": "overlap"}) == (
        "dns='overlap': one of overlay, gateway, off is wanted, did you mean 'overlay'?",
    )


@pytest.mark.parametrize("text", ["0", "5", "86400"])
def test_parse_of_a_ttl_takes_up_to_a_day(text: str) -> None:
    assert parse({"dns_ttl": text}).name_ttl_s == int(text)


@pytest.mark.parametrize("text", ["", "-1", "5s", "86401", "0086400", "٣"])
def test_parse_of_another_ttl_says_which_there_are(text: str) -> None:
    assert problems_of({"dns_ttl": text}) == (
        f"dns_ttl={text!r}: a number of seconds from 0 to 86400 is wanted",
    )


_keys = st.one_of(st.sampled_from([*KEYS, *KEYS.values()]), st.text(max_size=40))
_texts = st.one_of(st.sampled_from([text for text, _ in VALUES.values()]), st.text(max_size=20))


@given(st.dictionaries(_keys, _texts, max_size=6))
def test_parse_of_anything_gives_options_or_invalid_options(raw: dict[str, str]) -> None:
    try:
        options = parse(raw)
    except InvalidOptions:
        return

    assert len(options.name) <= 15
    assert options.mtu_bytes == 0 or 68 <= options.mtu_bytes <= 65535


@given(st.dictionaries(st.sampled_from(sorted(VALUES)), st.booleans(), max_size=8))
def test_parse_does_not_depend_on_which_spelling_of_a_key_is_used(chosen: dict[str, bool]) -> None:
    plain = {key: VALUES[key][0] for key in chosen}
    mixed = {KEYS[key] if is_dockers else key: VALUES[key][0] for key, is_dockers in chosen.items()}

    assert parse(mixed) == parse(plain)
