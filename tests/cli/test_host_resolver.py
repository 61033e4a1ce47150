"""The host's resolver configuration: what is put there comes out again, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from netplug.cli.host_resolver import HostResolver, Undone
from netplug.errors import Conflict, KernelRefused, NotFound

ADDRESS = "169.254.53.53"
ORIGINAL = b"# by hand\r\nnameserver 192.0.2.1\nsearch example.com\xff"


@dataclass
class Etc:
    """A folder in place of /etc, and how often resolved was told to read its part of it."""

    folder: Path
    reloads: list[None] = field(default_factory=list)
    answers: bool = True
    is_active: bool = False
    fails: bool = False

    @property
    def host(self) -> HostResolver:
        return HostResolver(
            reload=self.reload,
            is_resolved_active=lambda: self.is_active,
            answers=lambda address, domain: self.answers,
            resolv_conf=self.folder / "resolv.conf",
            drop_in=self.folder / "resolved.conf.d" / "pynet.conf",
            resolved_runs=self.folder / "run",
            resolved_settings=(self.folder / "resolved.conf", self.folder / "resolved.conf.d"),
            nsswitch=self.folder / "nsswitch.conf",
        )

    def reload(self) -> None:
        if self.fails:
            raise KernelRefused("run systemctl", "it failed")
        self.reloads.append(None)

    def files(self) -> dict[str, bytes]:
        found = (p for p in self.folder.rglob("*") if p.is_file())
        return {str(p.relative_to(self.folder)): p.read_bytes() for p in found}


@pytest.fixture
def etc(tmp_path: Path) -> Etc:
    return Etc(tmp_path)


@pytest.fixture
def plain(etc: Etc) -> Etc:
    etc.host.resolv_conf.write_bytes(ORIGINAL)
    etc.host.resolv_conf.chmod(0o640)
    return etc


@pytest.fixture
def linked(etc: Etc) -> Etc:
    (etc.folder / "generated").write_bytes(ORIGINAL)
    etc.host.resolv_conf.symlink_to("generated")
    return etc


def test_install_puts_our_address_first_and_keeps_the_rest(plain: Etc) -> None:
    assert plain.host.install(ADDRESS, "pynet") == plain.host.resolv_conf

    mark, ours, rest = plain.host.resolv_conf.read_bytes().split(b"\n", 2)
    assert mark.startswith(b"# pynet dns install ")
    assert (ours, rest) == (b"nameserver 169.254.53.53", ORIGINAL)
    assert plain.host.backup.read_bytes() == ORIGINAL
    assert plain.host.resolv_conf.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("kind", ["plain", "linked"])
def test_uninstall_leaves_everything_as_it_was(
    kind: str, etc: Etc, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(kind)
    before, was_link = etc.files(), etc.host.resolv_conf.is_symlink()
    etc.host.install(ADDRESS, "pynet")
    etc.host.install(ADDRESS, "pynet")

    assert etc.host.uninstall().restored == (etc.host.resolv_conf,)

    assert (etc.files(), etc.host.resolv_conf.is_symlink()) == (before, was_link)
    with pytest.raises(NotFound):
        etc.host.uninstall()


def test_install_in_place_of_a_link_leaves_its_target_alone(linked: Etc) -> None:
    linked.host.install(ADDRESS, "pynet")

    assert not linked.host.resolv_conf.is_symlink()
    assert linked.host.backup.is_symlink()
    assert (linked.folder / "generated").read_bytes() == ORIGINAL


def test_install_again_changes_nothing(plain: Etc) -> None:
    plain.host.install(ADDRESS, "pynet")
    before = plain.files(), plain.host.resolv_conf.stat()

    plain.host.install(ADDRESS, "pynet")

    assert (plain.files(), plain.host.resolv_conf.stat()) == before


@pytest.mark.parametrize("kind", ["plain", "linked"])
def test_install_of_another_address_replaces_the_first(
    kind: str, etc: Etc, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(kind)
    etc.host.install(ADDRESS, "pynet")

    etc.host.install("169.254.1.1", "pynet")

    assert ADDRESS.encode() not in etc.host.resolv_conf.read_bytes()
    etc.host.uninstall()
    assert etc.host.resolv_conf.read_bytes() == ORIGINAL


@pytest.mark.parametrize("call", ["install", "uninstall"])
def test_what_somebody_changed_in_between_stays(plain: Etc, call: str) -> None:
    plain.host.install(ADDRESS, "pynet")
    with plain.host.resolv_conf.open("ab") as file:
        file.write(b"nameserver 192.0.2.9\n")
    before = plain.files()

    with pytest.raises(Conflict, match=r"resolv\.conf was changed since 'pynet dns install'"):
        plain.host.uninstall() if call == "uninstall" else plain.host.install("10.0.0.1", "pynet")

    assert plain.files() == before


@pytest.mark.parametrize("kind", ["plain", "linked"])
@pytest.mark.parametrize("installs_again", [True, False])
def test_file_that_somebody_wrote_anew_is_the_original_from_then_on(
    kind: str, installs_again: bool, etc: Etc, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(kind)
    others = {k: v for k, v in etc.files().items() if k != "resolv.conf"}
    etc.host.install(ADDRESS, "pynet")
    etc.host.resolv_conf.write_bytes(b"# Generated by NetworkManager\nnameserver 10.0.0.1\n")
    written = etc.host.resolv_conf.read_bytes()

    if installs_again:
        etc.host.install(ADDRESS, "pynet")
        assert etc.host.resolv_conf.read_bytes().endswith(written)
    undone = etc.host.uninstall()

    conf = (etc.host.resolv_conf,)
    assert undone == (Undone(restored=conf) if installs_again else Undone(rewritten=conf))
    assert etc.files() == {**others, "resolv.conf": written}


def test_install_after_a_crash_before_the_change_begins_anew(plain: Etc) -> None:
    plain.host.backup.write_bytes(ORIGINAL)

    plain.host.install(ADDRESS, "pynet")
    plain.host.uninstall()

    assert plain.files() == {"resolv.conf": ORIGINAL}


def crash_before_the_change(etc: Etc) -> None:
    etc.host.backup.hardlink_to(etc.host.resolv_conf)


def crash_without_the_original(etc: Etc) -> None:
    etc.host.resolv_conf.rename(etc.host.backup)


@pytest.mark.parametrize("kind", ["plain", "linked"])
@pytest.mark.parametrize("crash", [crash_before_the_change, crash_without_the_original])
@pytest.mark.parametrize("installs_again", [True, False])
def test_uninstall_after_a_crash_leaves_the_original(
    kind: str,
    crash: Callable[[Etc], None],
    installs_again: bool,
    etc: Etc,
    request: pytest.FixtureRequest,
) -> None:
    request.getfixturevalue(kind)
    before, was_link = etc.files(), etc.host.resolv_conf.is_symlink()
    crash(etc)

    if installs_again:
        etc.host.install(ADDRESS, "pynet")
    assert etc.host.uninstall().restored == (etc.host.resolv_conf,)

    assert (etc.files(), etc.host.resolv_conf.is_symlink()) == (before, was_link)


def test_install_that_cannot_write_leaves_the_link(linked: Etc) -> None:
    before = linked.files()
    (linked.folder / ".resolv.conf.pynet").mkdir()  # as a full disk would

    with pytest.raises(OSError, match=r"resolv\.conf\.pynet"):
        linked.host.install(ADDRESS, "pynet")

    assert linked.host.resolv_conf.read_bytes() == ORIGINAL
    linked.host.uninstall()
    assert (linked.files(), linked.host.resolv_conf.is_symlink()) == (before, True)


def test_install_of_an_address_that_does_not_answer_changes_nothing(plain: Etc) -> None:
    plain.answers = False

    with pytest.raises(Conflict, match=r"169\.254\.53\.53 does not answer"):
        plain.host.install(ADDRESS, "pynet")

    assert plain.files() == {"resolv.conf": ORIGINAL}


def test_install_without_a_resolv_conf_is_refused(etc: Etc) -> None:
    with pytest.raises(Conflict, match="does not exist"):
        etc.host.install(ADDRESS, "pynet")


STUB = b"nameserver 127.0.0.53\n"


@pytest.fixture
def resolved(etc: Etc) -> Etc:
    etc.is_active = True
    (etc.folder / "run").mkdir()
    (etc.folder / "run" / "stub-resolv.conf").write_bytes(STUB)
    etc.host.resolv_conf.symlink_to("run/stub-resolv.conf")
    return etc


def test_install_where_resolved_is_asked_is_a_drop_in_that_it_reads(resolved: Etc) -> None:
    before, host = resolved.files(), resolved.host

    assert host.install(ADDRESS, "lab.example") == host.drop_in
    assert host.drop_in.read_text().splitlines()[1:] == [
        "[Resolve]",
        "DNS=169.254.53.53",
        "Domains=~lab.example",
    ]
    assert host.resolv_conf.is_symlink()

    assert host.uninstall().restored == (host.drop_in,)
    assert (resolved.files(), len(resolved.reloads)) == (before, 2)


@pytest.mark.parametrize(
    ("resolv_conf", "nsswitch", "asks_resolved"),
    [
        (STUB, b"", True),
        (ORIGINAL, b"hosts: files mymachines resolve [!UNAVAIL=return] dns\n", True),
        (ORIGINAL, b"hosts: files dns\n", False),
    ],
)
def test_resolved_counts_where_it_is_really_asked(
    plain: Etc, resolv_conf: bytes, nsswitch: bytes, asks_resolved: bool
) -> None:
    plain.host.resolv_conf.write_bytes(resolv_conf)
    plain.host.nsswitch.write_bytes(nsswitch)
    plain.is_active = True

    changed = plain.host.install(ADDRESS, "pynet")

    assert changed == (plain.host.drop_in if asks_resolved else plain.host.resolv_conf)


def test_resolved_that_does_not_run_leaves_resolv_conf_to_us(resolved: Etc) -> None:
    resolved.is_active = False

    assert resolved.host.install(ADDRESS, "pynet") == resolved.host.resolv_conf


@pytest.mark.parametrize("file", ["resolved.conf", "resolved.conf.d/corp.conf"])
def test_other_servers_for_all_names_are_refused(resolved: Etc, file: str) -> None:
    path = resolved.folder / file
    path.parent.mkdir(exist_ok=True)
    path.write_text("[Resolve]\n#DNS=192.0.2.8\nDNS=\n")
    resolved.host.install(ADDRESS, "pynet")

    path.write_text("[Resolve]\nDNS=192.0.2.9\n")
    with pytest.raises(Conflict, match=r"sets DNS= for the whole host.*\.network file"):
        resolved.host.install(ADDRESS, "pynet")


def test_reload_that_failed_is_made_good_by_the_next_call(resolved: Etc) -> None:
    before = resolved.files()
    for call in (lambda: resolved.host.install(ADDRESS, "pynet"), resolved.host.uninstall):
        resolved.fails = True
        with pytest.raises(KernelRefused):
            call()
        resolved.fails = False
        call()

    assert (resolved.files(), len(resolved.reloads)) == (before, 2)


def test_drop_in_of_another_domain_is_written_anew_and_a_strange_one_stays(
    resolved: Etc,
) -> None:
    etc = resolved
    etc.host.install(ADDRESS, "pynet")

    etc.host.install(ADDRESS, "lab")
    assert b"~lab" in etc.host.drop_in.read_bytes()

    etc.host.drop_in.write_text("[Resolve]\n")
    with pytest.raises(Conflict, match=r"pynet\.conf was changed"):
        etc.host.install(ADDRESS, "lab")
    with pytest.raises(Conflict, match=r"pynet\.conf was changed"):
        etc.host.uninstall()
