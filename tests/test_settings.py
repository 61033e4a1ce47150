"""Settings: which source wins, and what is said of values that cannot be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

import pytest

from netplug import settings
from netplug.errors import InvalidSettings
from netplug.model import PoolRange
from netplug.settings import DEFAULT_FILE, Settings, load


def _files(contents: Mapping[str, str]) -> Callable[[str], str]:
    def read(path: str) -> str:
        if path not in contents:
            raise FileNotFoundError(path)
        return contents[path]

    return read


def _load(
    file: str = "",
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, str | None] | None = None,
) -> Settings:
    return load(flags or {}, environment or {}, _files({DEFAULT_FILE: file}))


def _problems(
    file: str = "",
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, str | None] | None = None,
) -> tuple[str, ...]:
    with pytest.raises(InvalidSettings) as caught:
        _load(file, environment, flags)
    return caught.value.problems


def test_nothing_given_is_the_defaults() -> None:
    assert load({"store": None}, {"HOME": "/root"}, _files({})) == Settings()


def test_every_field_can_be_given_in_every_source() -> None:
    assert set(settings._PARSERS) == {field.name for field in fields(Settings)}


def test_every_field_of_a_file_is_read() -> None:
    assert _load(
        """
        state_dir = "/s"
        plugin_socket = "/p.sock"
        admin_socket = "/a.sock"
        docker_host = "tcp://10.0.0.1:2376"
        store = "sqlite"
        log_format = "json"
        log_level = "DEBUG"
        ipam_ranges_ipv4 = ["10.64.0.0/12", "172.20.0.0/16 size 28"]
        ipam_ranges_ipv6 = ["fd77::/48", "fd78::/60 size 64"]
        ipam_cooldown_s = 0
        ipam_sticky_s = 3600
        publish_addresses = ["192.0.2.1", "::"]
        dns_domain = "Lab.Example."
        dns_address = "169.254.1.1"
        dns_rate_per_s = 5000
        reconcile_interval_s = 60
        request_deadline_s = 2.5
        audit_grace_s = 120
        """
    ) == Settings(
        state_dir=Path("/s"),
        plugin_socket=Path("/p.sock"),
        admin_socket=Path("/a.sock"),
        docker_host="tcp://10.0.0.1:2376",
        store="sqlite",
        log_format="json",
        log_level="debug",
        ipam_ranges_ipv4=(
            PoolRange(IPv4Network("10.64.0.0/12"), 24),
            PoolRange(IPv4Network("172.20.0.0/16"), 28),
        ),
        ipam_ranges_ipv6=(
            PoolRange(IPv6Network("fd77::/48"), 64),
            PoolRange(IPv6Network("fd78::/60"), 64),
        ),
        ipam_cooldown_s=0.0,
        ipam_sticky_s=3600.0,
        publish_addresses=(IPv4Address("192.0.2.1"), IPv6Address("::")),
        dns_domain="lab.example",
        dns_address=IPv4Address("169.254.1.1"),
        dns_rate_per_s=5000.0,
        reconcile_interval_s=60.0,
        request_deadline_s=2.5,
        audit_grace_s=120.0,
    )


def test_flags_beat_environment_beats_file_beats_default() -> None:
    result = _load(
        file='state_dir = "/file"\nlog_format = "json"\nlog_level = "debug"',
        environment={"PYNET_STATE_DIR": "/environment", "PYNET_LOG_FORMAT": "console"},
        flags={"state_dir": "/flag", "log_level": None},
    )

    assert result == Settings(state_dir=Path("/flag"), log_format="console", log_level="debug")


def test_text_of_the_environment_becomes_lists_and_numbers() -> None:
    result = _load(
        environment={
            "PYNET_IPAM_RANGES_IPV4": "10.64.0.0/12 size 26, 172.20.0.0/16",
            "PYNET_RECONCILE_INTERVAL_S": "5",
        }
    )

    assert result.ipam_ranges_ipv4 == (
        PoolRange(IPv4Network("10.64.0.0/12"), 26),
        PoolRange(IPv4Network("172.20.0.0/16"), 24),
    )
    assert result.reconcile_interval_s == 5.0


@pytest.mark.parametrize(
    ("text", "addresses"),
    [("127.0.0.1,::1", (IPv4Address("127.0.0.1"), IPv6Address("::1"))), ("", ())],
)
def test_text_of_a_flag_becomes_a_list_that_may_be_empty(
    text: str, addresses: tuple[IPv4Address | IPv6Address, ...]
) -> None:
    result = _load(file='publish_addresses = ["192.0.2.1"]', flags={"publish_addresses": text})

    assert result.publish_addresses == addresses


def test_no_dns_address_is_said_with_none() -> None:
    assert _load(environment={"PYNET_DNS_ADDRESS": "none"}).dns_address is None


def test_a_variable_that_is_empty_is_not_set() -> None:
    assert _load(environment={"PYNET_LOG_LEVEL": ""}) == Settings()


@pytest.mark.parametrize(
    ("flags", "environment"),
    [
        ({"config": "/named"}, {"PYNET_CONFIG": "/other"}),
        ({"config": None}, {"PYNET_CONFIG": "/named"}),
    ],
)
def test_a_named_file_is_read_instead_of_the_usual_one(
    flags: Mapping[str, str | None], environment: Mapping[str, str]
) -> None:
    read = _files({"/named": 'log_level = "debug"', DEFAULT_FILE: 'log_format = "json"'})

    assert load(flags, environment, read) == Settings(log_level="debug")


def test_a_named_file_that_is_missing_is_a_problem() -> None:
    assert _problems(flags={"config": "/named"}) == ("/named: there is no such file",)


def test_a_file_that_may_not_be_read_is_a_problem() -> None:
    def read(path: str) -> str:
        raise PermissionError(13, "Permission denied", path)

    with pytest.raises(InvalidSettings, match=f"{DEFAULT_FILE}: Permission denied"):
        load({}, {}, read)


def test_a_file_that_is_not_toml_is_a_problem() -> None:
    (problem,) = _problems(file="store: sqlite")

    assert problem.startswith(f"{DEFAULT_FILE}: not TOML: ")
    assert "line 1" in problem


def test_all_problems_of_all_sources_are_listed_at_once() -> None:
    assert _problems(
        file='state_dri = "/s"\nstore = 7\n[ipam]\nrange = 1',
        environment={"PYNET_LOG_LEVL": "info", "PYNET_LOG_FORMAT": "jsn"},
        flags={"request_deadline_s": "30", "colour": "red"},
    ) == (
        f"{DEFAULT_FILE}: unknown key 'state_dri'; did you mean state_dir?",
        f"{DEFAULT_FILE}: store: must be text, not 7",
        f"{DEFAULT_FILE}: unknown key 'ipam'",
        "unknown variable PYNET_LOG_LEVL; did you mean PYNET_LOG_LEVEL?",
        "PYNET_LOG_FORMAT: 'jsn' is not console or json; did you mean json?",
        "--request-deadline-s: must be from 1 to 29 seconds, not 30",
        "unknown flag --colour",
    )


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("dns_domain", '""', "'' is no domain such as pynet"),
        ("dns_domain", '"a..b"', "'a..b' is no domain such as pynet"),
        ("dns_domain", '"a_b"', "'a_b' is no domain such as pynet"),
        ("dns_address", '"here"', "'here' is not an address such as 169.254.53.53, nor none"),
        ("dns_address", '"::"', "'::' is not an address that the host can ask"),
        ("dns_address", '"127.0.0.53"', "'127.0.0.53' is not an address that the host can ask"),
        ("dns_address", '"224.0.0.251"', "'224.0.0.251' is not an address that the host can ask"),
        ("dns_rate_per_s", '"fast"', "must be a number, not 'fast'"),
        ("dns_rate_per_s", "99", "must be from 100 to 10000000, not 99"),
        ("state_dir", '""', "must be a path, not empty"),
        ("state_dir", "[1]", "must be text, not [1]"),
        (
            "admin_socket",
            f'"/{"x" * 107}"',
            f"/{'x' * 107} has 108 bytes; a socket's path has at most 107",
        ),
        (
            "docker_host",
            '"ssh://host"',
            "'ssh://host' is no engine; "
            "give unix:///path, tcp://host:port, or none to work without one",
        ),
        (
            "store",
            '"etcd://10.0.0.1:2379"',
            "'etcd://10.0.0.1:2379' is a cluster store, and this version has none; use sqlite",
        ),
        ("store", '"sqlit"', "'sqlit' is not sqlite; did you mean sqlite?"),
        ("log_level", '"loud"', "'loud' is not debug or info or warning or error"),
        ("reconcile_interval_s", '"30"', "must be a number of seconds, not '30'"),
        ("reconcile_interval_s", "true", "must be a number of seconds, not True"),
        ("reconcile_interval_s", "nan", "must be a number of seconds, not nan"),
        ("ipam_cooldown_s", "-1", "must be from 0 to 86400 seconds, not -1"),
        ("ipam_sticky_s", "59", "must be from 60 to 31622400 seconds, not 59"),
        ("reconcile_interval_s", "0", "must be from 1 to 86400 seconds, not 0"),
        ("ipam_ranges_ipv4", '"10.0.0.0/8"', "must be a list of at least one network, not '10.0"),
        ("ipam_ranges_ipv4", "[]", "must be a list of at least one network, not []"),
        ("ipam_ranges_ipv4", "[10]", "must be text, not 10"),
        ("ipam_ranges_ipv4", '["ten"]', "'ten' is not an IPv4 network such as 10.208.0.0/12"),
        ("ipam_ranges_ipv4", '["fd00::/64"]', "'fd00::/64' is not an IPv4 network such as"),
        (
            "ipam_ranges_ipv4",
            '["10.1.2.3/16"]',
            "'10.1.2.3/16' is not how a network is written; did you mean 10.1.0.0/16?",
        ),
        (
            "ipam_ranges_ipv4",
            '["10.1.2.0/25"]',
            "10.1.2.0/25 is too small for a /24; give its pools another size, "
            "as in '10.1.2.0/25 size 27'",
        ),
        (
            "ipam_ranges_ipv4",
            '["10.0.0.0/8 size 32"]',
            "'10.0.0.0/8 size 32': a size from 8 to 31 is wanted",
        ),
        (
            "ipam_ranges_ipv4",
            '["10.0.0.0/8 size many"]',
            "'10.0.0.0/8 size many': a size from 8 to 31 is wanted",
        ),
        ("ipam_ranges_ipv4", '["10.0.0.0/8 24"]', "'10.0.0.0/8 24' is not an IPv4 network such"),
        ("ipam_ranges_ipv4", '["224.0.0.0/8"]', "224.0.0.0/8 has no addresses for containers"),
        ("ipam_ranges_ipv6", '["10.0.0.0/8"]', "'10.0.0.0/8' is not an IPv6 network such as fd12:"),
        (
            "ipam_ranges_ipv6",
            '["fd77::/56 size 48"]',
            "'fd77::/56 size 48': a size from 56 to 127 is wanted",
        ),
        (
            "ipam_ranges_ipv4",
            '["10.0.0.0/8", "10.9.0.0/16"]',
            "10.0.0.0/8 and 10.9.0.0/16 overlap",
        ),
        ("publish_addresses", '"::1"', "must be a list of addresses, not '::1'"),
        ("publish_addresses", "[1]", "must be text, not 1"),
        (
            "publish_addresses",
            '["[::1]"]',
            "'[::1]' is not an address such as 192.0.2.1 or 2001:db8::1",
        ),
        ("publish_addresses", '["224.0.0.1"]', "'224.0.0.1' is not an address that ports can be"),
        ("publish_addresses", '["fe80::1%eth0"]', "'fe80::1%eth0' is not an address that ports"),
        ("publish_addresses", '["::1", "0::1"]', "::1 is there twice"),
        (
            "publish_addresses",
            '["::1", "0.0.0.0", "127.0.0.1"]',
            "0.0.0.0 and 127.0.0.1: one of them is every address",
        ),
    ],
)
def test_a_value_that_cannot_be_is_refused_in_a_sentence(
    key: str, value: str, problem: str
) -> None:
    (found,) = _problems(file=f"{key} = {value}")

    assert found.startswith(f"{DEFAULT_FILE}: {key}: {problem}")


def test_text_that_is_no_number_is_refused_in_a_sentence() -> None:
    (problem,) = _problems(environment={"PYNET_REQUEST_DEADLINE_S": "soon"})

    assert problem == "PYNET_REQUEST_DEADLINE_S: must be a number of seconds, not 'soon'"


def test_both_sockets_in_one_place_is_a_problem() -> None:
    (problem,) = _problems(flags={"plugin_socket": "/a.sock", "admin_socket": "/a.sock"})

    assert problem == "plugin_socket and admin_socket are both /a.sock"


def test_a_file_on_disk_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pynet.toml"
    path.write_text('log_level = "debug"')

    assert load({"config": str(path)}, {}) == Settings(log_level="debug")
