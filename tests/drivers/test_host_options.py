"""The options of a host network: every key, every value, every way to get them wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.host.options import (
    HostOptions,
    IpvlanFlag,
    IpvlanMode,
    MacvlanMode,
    Mode,
    PortPolicy,
    parse,
    refuse_unknown,
)
from netplug.contract.driver import NameMode
from netplug.errors import InvalidOptions

DOCKERS = {
    "mtu": "com.docker.network.driver.mtu",
    "icc": "com.docker.network.bridge.enable_icc",
    "iface_prefix": "com.docker.network.container_iface_prefix",
}
VALUES: dict[str, tuple[str, HostOptions]] = {
    "mode": ("ipvlan", HostOptions(mode=Mode.IPVLAN)),
    "parent": ("eth0.10", HostOptions(parent="eth0.10")),
    "mtu": ("9000", HostOptions(mtu_bytes=9000)),
    "icc": ("false", HostOptions(has_icc=False)),
    "spoof_guard": ("off", HostOptions(guards_spoofing=False)),
    "ports": ("published", HostOptions(ports=PortPolicy.PUBLISHED)),
    "masquerade": ("", HostOptions(masquerades=True)),
    "iface_prefix": ("lan", HostOptions(iface_prefix="lan")),
    "dns": ("off", HostOptions(name_mode=NameMode.OFF)),
    "dns_ttl": ("60", HostOptions(name_ttl_s=60)),
}
OWNED = {
    "macvlan_mode": (Mode.MACVLAN, "private"),
    "host_access": (Mode.MACVLAN, "on"),
    "ipvlan_mode": (Mode.IPVLAN, "l3s"),
    "ipvlan_flag": (Mode.IPVLAN, "vepa"),
    "masquerade": (Mode.ROUTED, "true"),
}


def problems_of(raw: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(InvalidOptions) as refusal:
        parse(raw.items())
    return refusal.value.problems


def test_parse_of_nothing_gives_the_defaults() -> None:
    options = parse(())

    assert options == HostOptions()
    assert (options.mode, options.ports, options.guards_spoofing) == ("routed", "open", True)
    assert (options.macvlan_mode, options.ipvlan_mode) == ("bridge", "l2")


@pytest.mark.parametrize("key", VALUES)
def test_parse_takes_the_plain_key(key: str) -> None:
    text, expected = VALUES[key]

    assert parse([(key, text)]) == expected


@pytest.mark.parametrize("key", DOCKERS)
def test_parse_takes_dockers_key(key: str) -> None:
    text, expected = VALUES[key]

    assert parse([(DOCKERS[key], text)]) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"macvlan_mode": "vepa"}, HostOptions(mode=Mode.MACVLAN, macvlan_mode=MacvlanMode.VEPA)),
        ({"host_access": "on"}, HostOptions(mode=Mode.MACVLAN, has_host_access=True)),
        ({"ipvlan_mode": "l3"}, HostOptions(mode=Mode.IPVLAN, ipvlan_mode=IpvlanMode.L3)),
        ({"ipvlan_flag": "vepa"}, HostOptions(mode=Mode.IPVLAN, ipvlan_flag=IpvlanFlag.VEPA)),
    ],
)
def test_parse_takes_the_options_of_a_mode_with_it(
    raw: dict[str, str], expected: HostOptions
) -> None:
    assert parse([*raw.items(), ("mode", str(expected.mode))]) == expected


@pytest.mark.parametrize(
    ("key", "mode"), [(key, mode) for key in OWNED for mode in Mode if mode is not OWNED[key][0]]
)
def test_parse_of_an_option_of_another_mode_names_both(key: str, mode: Mode) -> None:
    owner, text = OWNED[key]

    assert problems_of({"mode": str(mode), key: text}) == (
        f"{key} is an option of mode={owner}, and the mode is {mode}",
    )


def test_parse_of_an_option_of_another_mode_counts_the_default() -> None:
    assert problems_of({"host_access": "on"}) == (
        "host_access is an option of mode=macvlan, and the mode is routed",
    )


def test_parse_of_an_unknown_mode_does_not_guess_whose_the_others_are() -> None:
    assert problems_of({"mode": "macvlam", "macvlan_mode": "vepa"}) == (
        "mode='macvlam': one of routed, macvlan, ipvlan is wanted, did you mean 'macvlan'?",
    )


def test_parse_lists_every_problem_at_once() -> None:
    raw = {"mtu": "big", "icc": "maybe", "parnet": "eth0", "ipvlan_mode": "l4", "ports": "shut"}

    assert problems_of(raw) == (
        "mtu='big': a number of bytes is wanted",
        "icc='maybe': true or false is wanted",
        "unknown option 'parnet', did you mean 'parent'?",
        "ipvlan_mode='l4': one of l2, l3, l3s is wanted, did you mean 'l3'?",
        "ports='shut': one of open, published is wanted",
        "ipvlan_mode is an option of mode=ipvlan, and the mode is routed",
    )


def test_parse_of_both_keys_with_two_values_shows_the_contradiction() -> None:
    assert problems_of({"mtu": "1500", DOCKERS["mtu"]: "1400"}) == (
        "com.docker.network.driver.mtu='1400' contradicts '1500', given under another key",
    )


@pytest.mark.parametrize("text", ["", "a/b", "x" * 16])
def test_parse_of_a_parent_that_is_no_interface_name_says_so(text: str) -> None:
    (problem,) = problems_of({"parent": text})

    assert problem.startswith(f"parent={text!r}: ")


def test_parse_of_names_at_a_gateway_says_why_not() -> None:
    assert problems_of({"dns": "gateway"}) == (
        "dns='gateway': the host has no address on such a network; dns=overlay needs none",
    )


def test_parse_of_another_place_for_names_says_which_there_are() -> None:
    assert problems_of({"dns": "overlap"}) == (
        "dns='overlap': one of overlay, off is wanted, did you mean 'overlay'?",
    )


def test_refuse_unknown_of_endpoint_options_passes_dockers_own_over() -> None:
    refuse_unknown([("com.docker.network.endpoint.ifname", "web0")])


def test_refuse_unknown_of_endpoint_options_lists_every_one() -> None:
    with pytest.raises(InvalidOptions) as refusal:
        refuse_unknown([("speed", "1"), ("isolate", "none")])

    assert refusal.value.problems == ("unknown option 'speed'", "unknown option 'isolate'")


@pytest.mark.parametrize(
    ("asked", "has_icc", "in_effect"),
    [
        ("bridge", True, "bridge"),
        ("bridge", False, "private"),
        ("private", True, "private"),
        ("private", False, "private"),
        ("vepa", True, "vepa"),
        ("passthru", True, "passthru"),
    ],
)
def test_mode_of_a_macvlan_without_icc_is_private(
    asked: str, has_icc: bool, in_effect: str
) -> None:
    options = HostOptions(mode=Mode.MACVLAN, macvlan_mode=MacvlanMode(asked), has_icc=has_icc)

    assert options.macvlan_in_effect == in_effect
    assert options.takes_parent is (asked == "passthru")


@pytest.mark.parametrize(
    ("asked", "has_icc", "in_effect"),
    [("bridge", True, "bridge"), ("bridge", False, "private"), ("vepa", True, "vepa")],
)
def test_flag_of_an_ipvlan_without_icc_is_private(
    asked: str, has_icc: bool, in_effect: str
) -> None:
    options = HostOptions(mode=Mode.IPVLAN, ipvlan_flag=IpvlanFlag(asked), has_icc=has_icc)

    assert options.flag_in_effect == in_effect


_keys = st.one_of(st.sampled_from([*VALUES, *OWNED, *DOCKERS.values()]), st.text(max_size=40))
_texts = st.one_of(
    st.sampled_from([text for text, _ in VALUES.values()] + [text for _, text in OWNED.values()]),
    st.text(max_size=20),
)


@given(st.dictionaries(_keys, _texts, max_size=6))
def test_parse_of_anything_gives_options_or_invalid_options(raw: dict[str, str]) -> None:
    try:
        options = parse(raw.items())
    except InvalidOptions:
        return

    assert len(options.parent) <= 15
    assert options.mtu_bytes == 0 or 68 <= options.mtu_bytes <= 65535
    assert options.name_mode is not NameMode.GATEWAY
