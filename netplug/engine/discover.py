"""Where the engine is: the setting, else what the docker CLI would use, in its order.

Source: docker/cli cli/command/cli.go (resolveContextName), cli/context/store, opts/hosts.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from os.path import exists as path_exists
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from netplug.errors import InvalidSettings, Unsupported

NO_ENGINE = "none"

_SYSTEM_SOCKETS = (Path("/var/run/docker.sock"), Path("/run/docker.sock"))
# IANA: docker and docker-s.
_PORT, _TLS_PORT = 2375, 2376

_File = TypeVar("_File", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """The files that prove who is who; without `authority` the system's roots decide."""

    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    is_verified: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineAddress:
    """`url` is unix:///path or tcp://host:port; `origin` says who named it."""

    url: str
    origin: str
    tls: Tls | None = None


class _ConfigFile(msgspec.Struct, frozen=True):
    context: str = msgspec.field(name="currentContext", default="")


class _ContextEndpoint(msgspec.Struct, frozen=True):
    host: str = msgspec.field(name="Host", default="")
    skips_verification: bool = msgspec.field(name="SkipTLSVerify", default=False)


class _Context(msgspec.Struct, frozen=True):
    endpoints: dict[str, _ContextEndpoint] = msgspec.field(name="Endpoints")


def read_file(path: Path) -> bytes | None:
    """Return what a file holds; None where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def find_engine(
    setting: str,
    environment: Mapping[str, str],
    read: Callable[[Path], bytes | None] = read_file,
    exists: Callable[[Path], bool] = path_exists,
) -> EngineAddress | None:
    """Return where the engine is; None where the setting is "none".

    Without a word from anyone it is the first usual socket that exists, else the first of all:
    dockerd starts after its plugins.

    Raises:
        InvalidSettings: an address, the docker CLI's configuration or a context is broken.
        Unsupported: the address is one that only the docker CLI can reach.
    """
    if setting == NO_ENGINE:
        return None
    return _Search(environment, read, exists).run(setting)


@dataclass(frozen=True, slots=True)
class _Search:
    environment: Mapping[str, str]
    read: Callable[[Path], bytes | None]
    exists: Callable[[Path], bool]

    def run(self, setting: str) -> EngineAddress:
        if setting:
            return _address(setting, "docker_host", self._environment_tls())
        if host := self.environment.get("DOCKER_HOST"):
            return _address(host, "DOCKER_HOST", self._environment_tls())
        context = self.environment.get("DOCKER_CONTEXT") or self._current_context()
        if context not in ("", "default"):
            return self._context(context)
        return self._usual_socket()

    def _config_folder(self) -> Path | None:
        if folder := self.environment.get("DOCKER_CONFIG"):
            return Path(folder)
        home = self.environment.get("HOME")
        return Path(home, ".docker") if home else None

    def _current_context(self) -> str:
        folder = self._config_folder()
        raw = self.read(folder / "config.json") if folder else None
        return _decode(raw, _ConfigFile, f"{folder}/config.json").context if raw else ""

    def _context(self, name: str) -> EngineAddress:
        contexts = (self._config_folder() or Path()) / "contexts"
        name_hash = sha256(name.encode()).hexdigest()
        meta = contexts / "meta" / name_hash / "meta.json"
        raw = self.read(meta)
        if raw is None:
            raise InvalidSettings([f"docker context {name!r}: {meta} cannot be read"])
        endpoint = _decode(raw, _Context, str(meta)).endpoints.get("docker")
        if endpoint is None:
            raise InvalidSettings([f"docker context {name!r} names no docker endpoint"])
        tls = self._tls_in(contexts / "tls" / name_hash / "docker", endpoint.skips_verification)
        return _address(endpoint.host, f"docker context {name!r}", tls)

    def _environment_tls(self) -> Tls | None:
        is_verified = bool(self.environment.get("DOCKER_TLS_VERIFY"))
        if not (is_verified or self.environment.get("DOCKER_TLS")):
            return None
        given = self.environment.get("DOCKER_CERT_PATH")
        folder = Path(given) if given else self._config_folder()
        found = self._tls_in(folder, not is_verified) if folder else None
        return found or Tls(is_verified=is_verified)

    def _tls_in(self, folder: Path, skips_verification: bool) -> Tls | None:
        authority, certificate, key = (
            folder / name if self.exists(folder / name) else None
            for name in ("ca.pem", "cert.pem", "key.pem")
        )
        if not (authority or certificate or skips_verification):
            return None
        return Tls(
            authority=authority,
            certificate=certificate,
            key=key,
            is_verified=not skips_verification,
        )

    def _usual_socket(self) -> EngineAddress:
        home = self.environment.get("HOME")
        desktop = (Path(home, ".docker/run/docker.sock"),) if home else ()
        usual = (*_SYSTEM_SOCKETS, *desktop)
        found = next((path for path in usual if self.exists(path)), usual[0])
        return EngineAddress(url=f"unix://{found}", origin="the usual socket")


def _address(text: str, origin: str, tls: Tls | None) -> EngineAddress:
    try:
        url = urlsplit(text)
        port, host = url.port, url.hostname or "localhost"
    except ValueError as error:
        raise InvalidSettings([f"{origin}: {text!r} is no address: {error}"]) from error
    match url.scheme:
        case "unix" if url.path.startswith("/") and not url.netloc:
            return EngineAddress(url=text, origin=origin)
        case "tcp" | "http" | "https":
            tls = tls or (Tls() if url.scheme == "https" else None)
            port = port or (_TLS_PORT if tls else _PORT)
            bracketed = f"[{host}]" if ":" in host else host
            return EngineAddress(url=f"tcp://{bracketed}:{port}", origin=origin, tls=tls)
        case "ssh" | "npipe" | "fd":
            raise Unsupported(
                f"{text} ({origin})",
                f"only the docker CLI speaks {url.scheme}; give unix:///path or tcp://host:port, "
                "or none to work without an engine",
            )
        case _:
            raise InvalidSettings(
                [f"{origin}: {text!r} is no engine; give unix:///path or tcp://host:port"]
            )


def _decode(raw: bytes, kind: type[_File], where: str) -> _File:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidSettings([f"{where}: {error}"]) from error
