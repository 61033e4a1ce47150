"""Makes the host ask pynet for names of its domain, and takes that back.

Where the host asks systemd-resolved, a drop-in of its configuration says so. Elsewhere our address
is put first into resolv.conf: pynet refuses every other name, upon which the C library goes on to
the next server. The original is kept beside it, and comes back byte for byte.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from pathlib import Path

from netplug.errors import Conflict, NotFound

_MARK = "# pynet dns install"
_DIGEST_LENGTH = 16
# Where resolved reads its settings, and where it answers. Source: man resolved.conf.
_RESOLVED_SETTINGS = tuple(
    Path(place, "systemd", name)
    for place in ("/etc", "/run", "/usr/local/lib", "/usr/lib")
    for name in ("resolved.conf", "resolved.conf.d")
)
_RESOLVED_ADDRESSES = frozenset({"127.0.0.53", "127.0.0.54"})
_SERVERS = re.compile(r"\s*DNS\s*=\s*\S")


class _State(Enum):
    """What resolv.conf is while there is a backup of it."""

    OURS = "ours"
    ORIGINAL = "original"  # a crash, right before it was changed
    GONE = "gone"
    REWRITTEN = "rewritten"  # by NetworkManager, a DHCP client, somebody


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """What was taken back: files that are as before, and those that somebody had rewritten."""

    restored: tuple[Path, ...] = ()
    rewritten: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostResolver:
    """The host's resolver configuration.

    `reload` has systemd-resolved read it again if it runs, which `is_resolved_active` tells;
    `answers` tells whether an address answers for a domain.
    """

    reload: Callable[[], None]
    is_resolved_active: Callable[[], bool]
    answers: Callable[[str, str], bool]
    resolv_conf: Path = Path("/etc/resolv.conf")
    drop_in: Path = Path("/etc/systemd/resolved.conf.d/pynet.conf")
    resolved_runs: Path = Path("/run/systemd/resolve")
    resolved_settings: tuple[Path, ...] = _RESOLVED_SETTINGS
    nsswitch: Path = Path("/etc/nsswitch.conf")

    @property
    def backup(self) -> Path:
        """Return where the original resolv.conf is kept."""
        return self.resolv_conf.with_name(f"{self.resolv_conf.name}.before-pynet")

    def install(self, address: str, domain: str) -> Path:
        """Make the host ask `address` for names below `domain`; return the file that says so.

        Repeating it changes nothing.

        Raises:
            Conflict: nobody answers there; somebody changed that file after it was made, or there
                is none.
            OSError: a file cannot be read or written.
        """
        if not self.answers(address, domain):
            hint = "it does so while there is a network: create one, or see 'pynet status'"
            raise Conflict(f"pynet at {address}", "does not answer", hint)
        if self._asks_resolved():
            self._install_drop_in(address, domain)
            return self.drop_in
        self._install_first(address)
        return self.resolv_conf

    def uninstall(self) -> Undone:
        """Take back what was installed.

        Raises:
            NotFound: nothing is installed.
            Conflict: somebody changed a file in between.
            OSError: a file cannot be read or written.
        """
        restored: list[Path] = []
        rewritten: list[Path] = []
        if self.drop_in.exists():
            _refuse_foreign(self.drop_in, self.drop_in.read_bytes())
            _write(self.drop_in, _marked(b""))
            self.reload()  # if that fails, it can be tried again
            self.drop_in.unlink()
            with suppress(OSError):  # others have files there
                self.drop_in.parent.rmdir()
            restored.append(self.drop_in)
        if os.path.lexists(self.backup):
            state = self._state()
            self._settle(state)
            (rewritten if state is _State.REWRITTEN else restored).append(self.resolv_conf)
        if not restored and not rewritten:
            raise NotFound("resolver configuration of pynet", str(self.resolv_conf))
        return Undone(restored=tuple(restored), rewritten=tuple(rewritten))

    def _asks_resolved(self) -> bool:
        """Return whether the host's programs ask systemd-resolved; it may run beside."""
        if not self.is_resolved_active():
            return False
        if self.resolv_conf.resolve().is_relative_to(self.resolved_runs.resolve()):
            return True
        servers = (words[1:2] for words in _words(self.resolv_conf) if words[0] == "nameserver")
        sources = (words[1:] for words in _words(self.nsswitch) if words[0] == "hosts:")
        names_it = any(_RESOLVED_ADDRESSES.intersection(found) for found in servers)
        return names_it or any("resolve" in found for found in sources)

    def _refuse_other_servers(self) -> None:
        """Refuse servers for all names beside ours: resolved would ask either for every name.

        Raises:
            Conflict: with what to do by hand.
        """
        for place in self.resolved_settings:
            for file in sorted(place.glob("*.conf")) if place.is_dir() else [place]:
                if file != self.drop_in and any(_SERVERS.match(line) for line in _lines(file)):
                    raise Conflict(
                        str(file),
                        "sets DNS= for the whole host, and resolved would take those servers for "
                        "pynet's too",
                        "write them as DNS= into the .network file of the link that leads there "
                        "(man systemd.network), and remove them here",
                    )

    def _install_drop_in(self, address: str, domain: str) -> None:
        self._refuse_other_servers()
        wanted = _marked(f"[Resolve]\nDNS={address}\nDomains=~{domain}\n".encode())
        if self.drop_in.exists():
            present = self.drop_in.read_bytes()
            _refuse_foreign(self.drop_in, present)
        self.drop_in.parent.mkdir(parents=True, exist_ok=True)
        _write(self.drop_in, wanted)
        self.reload()

    def _install_first(self, address: str) -> None:
        first = f"nameserver {address}\n".encode()
        if os.path.lexists(self.backup) and self._has_ours(first):
            return
        original = self._original()
        wanted = _marked(first + original)
        if self.resolv_conf.is_symlink():
            self.backup.symlink_to(self.resolv_conf.readlink())
            _write(self.resolv_conf, wanted)
        else:
            _write(self.backup, original, like=self.resolv_conf)
            _write(self.resolv_conf, wanted, like=self.resolv_conf)

    def _has_ours(self, first: bytes) -> bool:
        """Return whether `first` is in force; put back what is not: another address, half a change.

        Raises:
            Conflict: it is ours, and somebody changed it.
        """
        state = self._state()
        if state is _State.OURS:
            present = self.resolv_conf.read_bytes()
            if present.partition(b"\n")[2].startswith(first):
                return True
        self._settle(state)
        return False

    def _state(self) -> _State:
        """Return what resolv.conf is, of which there is a backup.

        Raises:
            Conflict: it is ours, and somebody changed it.
        """
        conf, backup = self.resolv_conf, self.backup
        if not os.path.lexists(conf):
            return _State.GONE
        if conf.is_symlink() or backup.is_symlink():
            is_original = _target(conf) == _target(backup)
        else:
            is_original = conf.read_bytes() == backup.read_bytes()
        if is_original:
            return _State.ORIGINAL
        present = conf.read_bytes() if conf.exists() else b""
        if not present.startswith(_MARK.encode()):
            return _State.REWRITTEN
        _refuse_foreign(conf, present)
        return _State.OURS

    def _settle(self, state: _State) -> None:
        """Let there be no backup, and the original unless somebody wrote another."""
        if state in (_State.ORIGINAL, _State.REWRITTEN):
            self.backup.unlink()
        elif self.backup.is_symlink():
            self.backup.replace(self.resolv_conf)
        else:
            _write(self.resolv_conf, self.backup.read_bytes(), like=self.backup)
            self.backup.unlink()

    def _original(self) -> bytes:
        try:
            original = self.resolv_conf.read_bytes()
        except FileNotFoundError:
            hint = "create it, with a nameserver that knows the rest of the world"
            raise Conflict(str(self.resolv_conf), "does not exist", hint) from None
        if original.startswith(_MARK.encode()):
            _refuse_foreign(self.resolv_conf, original)
        return original


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []


def _words(path: Path) -> Iterator[list[str]]:
    """Yield the words of each line that has some."""
    return (words for line in _lines(path) if (words := line.split()))


def _target(path: Path) -> Path | None:
    return path.readlink() if path.is_symlink() else None


def _marked(content: bytes) -> bytes:
    """Return `content` under a line that tells whether somebody changed it since."""
    digest = sha256(content).hexdigest()[:_DIGEST_LENGTH]
    return f"{_MARK} {digest}: 'pynet dns uninstall' takes it back\n".encode() + content


def _refuse_foreign(path: Path, present: bytes) -> None:
    """Refuse what is not as it was written here.

    Raises:
        Conflict: with what to do.
    """
    _, _, content = present.partition(b"\n")
    if present != _marked(content):
        raise Conflict(
            str(path),
            "was changed since 'pynet dns install'",
            f"put it right by hand, then remove {path.name}.before-pynet if it is there",
        )


def _write(path: Path, content: bytes, like: Path | None = None) -> None:
    """Write a file whole or not at all, with the mode and owner of `like`.

    In a container it may be a mount, which can only be written in place.
    """
    fresh = path.with_name(f".{path.name}.pynet")
    fresh.unlink(missing_ok=True)
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            if like is not None:
                status = like.stat()
                os.fchmod(fd, status.st_mode & 0o7777)
                os.fchown(fd, status.st_uid, status.st_gid)
            else:
                os.fchmod(fd, 0o644)
            file.flush()
            os.fsync(fd)
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        if error.errno != errno.EBUSY:
            error.filename = error.filename or str(path)  # a write does not say of what
            raise
        path.write_bytes(content)
