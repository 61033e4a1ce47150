from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import pytest

from netplug.engine.discover import EngineAddress, Tls, find_engine, read_file
from netplug.errors import InvalidSettings, Unsupported

HOME = {"HOME": "/root"}
REMOTE_ID = sha256(b"remote").hexdigest()
REMOTE_TLS = f"/root/.docker/contexts/tls/{REMOTE_ID}/docker"
CERTS = ("/c/ca.pem", "/c/cert.pem", "/c/key.pem")
CERTS_TLS = Tls(authority=Path(CERTS[0]), certificate=Path(CERTS[1]), key=Path(CERTS[2]))


def context(host: str, *, skips: bool = False) -> dict[str, str]:
    """Return the files of a docker CLI whose current context is `remote`."""
    meta = {"Name": "remote", "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": skips}}}
    return {
        "/root/.docker/config.json": json.dumps({"auths": {}, "currentContext": "remote"}),
        f"/root/.docker/contexts/meta/{REMOTE_ID}/meta.json": json.dumps(meta),
    }


def find(
    setting: str = "", environment: Mapping[str, str] = HOME, files: Mapping[str, str] | None = None
) -> EngineAddress | None:
    files = files or {}

    def read(path: Path) -> bytes | None:
        return files[str(path)].encode() if str(path) in files else None

    return find_engine(setting, environment, read, lambda path: str(path) in files)


def test_find_engine_told_none_finds_none() -> None:
    assert find("none", {"DOCKER_HOST": "tcp://10.0.0.1"}) is None


@pytest.mark.parametrize(
    ("setting", "environment", "files", "url", "origin"),
    [
        ("unix:///a.sock", {"DOCKER_HOST": "tcp://b"}, {}, "unix:///a.sock", "docker_host"),
        ("", {**HOME, "DOCKER_HOST": "tcp://b"}, context("tcp://c"), "tcp://b:2375", "DOCKER_HOST"),
        ("", HOME, context("tcp://c:99"), "tcp://c:99", "docker context 'remote'"),
        ("", HOME, context("unix:///c.sock"), "unix:///c.sock", "docker context 'remote'"),
        (
            "",
            {**HOME, "DOCKER_CONTEXT": "default"},
            context("tcp://c"),
            "unix:///var/run/docker.sock",
            "the usual socket",
        ),
        (
            "",
            {"DOCKER_CONFIG": "/root/.docker"},
            context("tcp://c:99"),
            "tcp://c:99",
            "docker context 'remote'",
        ),
        ("", {}, {}, "unix:///var/run/docker.sock", "the usual socket"),
        ("", HOME, {"/run/docker.sock": ""}, "unix:///run/docker.sock", "the usual socket"),
        (
            "",
            HOME,
            {"/root/.docker/run/docker.sock": "", "/root/.docker/config.json": "{}"},
            "unix:///root/.docker/run/docker.sock",
            "the usual socket",
        ),
    ],
)
def test_find_engine_asks_in_the_order_of_the_docker_cli(
    setting: str, environment: Mapping[str, str], files: Mapping[str, str], url: str, origin: str
) -> None:
    assert find(setting, environment, files) == EngineAddress(url=url, origin=origin)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("tcp://", "tcp://localhost:2375"),
        ("tcp://:99", "tcp://localhost:99"),
        ("tcp://[fd00::1]", "tcp://[fd00::1]:2375"),
        ("http://a/", "tcp://a:2375"),
    ],
)
def test_find_engine_completes_an_address(text: str, url: str) -> None:
    assert find(text) == EngineAddress(url=url, origin="docker_host")


@pytest.mark.parametrize(
    ("environment", "files", "tls"),
    [
        ({}, CERTS, None),
        ({"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/c"}, CERTS, CERTS_TLS),
        ({"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/c"}, (), Tls()),
        ({"DOCKER_TLS_VERIFY": "1"}, CERTS, Tls()),
        (
            {"DOCKER_TLS_VERIFY": "1", "HOME": "/root"},
            ("/root/.docker/ca.pem",),
            Tls(authority=Path("/root/.docker/ca.pem")),
        ),
        (
            {"DOCKER_TLS": "1", "DOCKER_CERT_PATH": "/c"},
            CERTS[:1],
            Tls(authority=Path(CERTS[0]), is_verified=False),
        ),
    ],
)
def test_find_engine_reads_the_tls_environment(
    environment: Mapping[str, str], files: tuple[str, ...], tls: Tls | None
) -> None:
    found = find("tcp://a:1", environment, dict.fromkeys(files, ""))

    assert found == EngineAddress(url="tcp://a:1", origin="docker_host", tls=tls)


def test_find_engine_over_https_verifies_and_takes_the_tls_port() -> None:
    assert find("https://a") == EngineAddress(url="tcp://a:2376", origin="docker_host", tls=Tls())


@pytest.mark.parametrize(
    ("skips", "names", "tls"),
    [
        (False, (), None),
        (True, (), Tls(is_verified=False)),
        (False, ("ca.pem",), Tls(authority=Path(REMOTE_TLS, "ca.pem"))),
    ],
)
def test_find_engine_reads_the_tls_of_a_context(
    skips: bool, names: tuple[str, ...], tls: Tls | None
) -> None:
    material = {f"{REMOTE_TLS}/{name}": "" for name in names}

    found = find(files={**context("tcp://a:1", skips=skips), **material})

    assert found == EngineAddress(url="tcp://a:1", origin="docker context 'remote'", tls=tls)


@pytest.mark.parametrize("text", ["ssh://root@a", "npipe:////./pipe/docker", "fd://"])
def test_find_engine_refuses_what_only_the_docker_cli_speaks(text: str) -> None:
    with pytest.raises(Unsupported, match="only the docker CLI speaks") as caught:
        find(environment={"DOCKER_HOST": text})

    assert "DOCKER_HOST" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "/run/docker.sock",
        "a:2375",
        "unix://run/docker.sock",
        "unix://",
        "tcp://a:port",
        "tcp://[::1",
    ],
)
def test_find_engine_refuses_what_is_no_address(text: str) -> None:
    with pytest.raises(InvalidSettings, match="docker_host"):
        find(text)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"/root/.docker/config.json": "{"}, "config.json"),
        ({"/root/.docker/config.json": '{"currentContext": 7}'}, "config.json"),
        ({"/root/.docker/config.json": '{"currentContext": "gone"}'}, "'gone'.*cannot be read"),
        (
            {**context("tcp://a"), f"/root/.docker/contexts/meta/{REMOTE_ID}/meta.json": "[]"},
            "meta.json",
        ),
        (
            {
                **context("tcp://a"),
                f"/root/.docker/contexts/meta/{REMOTE_ID}/meta.json": '{"Endpoints":{}}',
            },
            "names no docker endpoint",
        ),
        (context(""), "docker context 'remote'"),
    ],
)
def test_find_engine_refuses_a_broken_docker_cli(files: Mapping[str, str], reason: str) -> None:
    with pytest.raises(InvalidSettings, match=reason):
        find(files=files)


def test_read_file_gives_none_for_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"text")

    assert read_file(tmp_path / "a") == b"text"
    assert read_file(tmp_path) is None
