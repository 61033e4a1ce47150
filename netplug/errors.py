"""Every error that pynet raises on purpose.

    PynetError
    ├── InvalidInput            400  exit 3   a list of problems, all of them at once
    │   ├── InvalidOptions              driver options of a network or endpoint
    │   ├── InvalidRequest              a request that cannot be decoded or makes no sense
    │   └── InvalidSettings             configuration file, environment, flags
    ├── NotFound                404  exit 4
    ├── Conflict                409  exit 5   exists, in use, overlaps, not ours
    │   ├── PortTaken                   a host port is somebody else's
    │   └── PortRefused                 a port mapping cannot be published
    ├── PoolExhausted           503  exit 6
    ├── Unsupported             501  exit 7   this kernel, this method
    ├── KernelRefused           500  exit 8
    ├── StoreUnavailable        503  exit 9
    ├── DaemonUnreachable       503  exit 9   the CLI found no daemon
    ├── EngineUnreachable       503  exit 9   no Docker Engine answers
    ├── DeadlineExceeded        504  exit 10
    └── Drift                   500  exit 11  the kernel is not what was asked of it

Each carries fields; the sentence is built once, here, and names the thing, the reason and, where
there is one, the next step. On the plugin socket `NotFound` is sent as 400: dockerd reads a 404 as
"method not implemented" and goes on (moby: daemon/libnetwork/drivers/remote/driver.go).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class PynetError(Exception):
    """Base of all errors raised on purpose; anything else is a bug."""

    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 70


class InvalidInput(PynetError):
    """Something a user or a client gave is wrong; `problems` lists everything found."""

    http_status = 400
    exit_code = 3
    subject: ClassVar[str] = "input"

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(f"invalid {self.subject}: " + "; ".join(problems))
        self.problems = tuple(problems)


class InvalidOptions(InvalidInput):
    """Driver options that the driver does not accept."""

    subject = "options"


class InvalidRequest(InvalidInput):
    """A request that cannot be decoded, or that makes no sense."""

    subject = "request"


class InvalidSettings(InvalidInput):
    """Configuration that the daemon cannot start with."""

    subject = "settings"


class NotFound(PynetError):
    """There is no such thing."""

    http_status = 404
    exit_code = 4

    def __init__(self, kind: str, name: str, hint: str = "") -> None:
        super().__init__(f"no {kind} {name!r}" + (f"; {hint}" if hint else ""))
        self.kind = kind
        self.name = name


class Conflict(PynetError):
    """It exists already, is in use, overlaps, or belongs to someone else."""

    http_status = 409
    exit_code = 5

    def __init__(self, thing: str, reason: str, hint: str = "") -> None:
        super().__init__(f"{thing} {reason}" + (f"; {hint}" if hint else ""))
        self.thing = thing
        self.reason = reason


class PortTaken(Conflict):
    """A host port is in use; `holder` says by whom, as far as that can be seen."""

    def __init__(self, port: str, holder: str) -> None:
        super().__init__(f"host port {port}", f"is in use by {holder}")
        self.port = port
        self.holder = holder


class PortRefused(Conflict):
    """A port mapping cannot be published; `mapping` is as Docker writes it, `why` a sentence."""

    def __init__(self, mapping: str, why: str) -> None:
        super().__init__(f"port mapping {mapping}", f"cannot be published: {why}")
        self.mapping = mapping
        self.why = why


class PoolExhausted(PynetError):
    """No address or no subnet is left to hand out."""

    http_status = 503
    exit_code = 6

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"nothing free in {what}: {reason}")
        self.what = what
        self.reason = reason


class Unsupported(PynetError):
    """This kernel, engine or driver cannot do it."""

    http_status = 501
    exit_code = 7

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what} is not supported: {reason}")
        self.what = what
        self.reason = reason


class KernelRefused(PynetError):
    """The kernel said no to one step; `code` is the errno, 0 where a tool gave text only."""

    exit_code = 8

    def __init__(self, step: str, reason: str, code: int = 0) -> None:
        super().__init__(f"the kernel refused to {step}: {reason}")
        self.step = step
        self.reason = reason
        self.code = code


class StoreUnavailable(PynetError):
    """The state cannot be read or written; `hint` says what to do."""

    http_status = 503
    exit_code = 9

    def __init__(self, where: str, reason: str, hint: str = "") -> None:
        super().__init__(f"state {where}: {reason}" + (f"; {hint}" if hint else ""))
        self.where = where
        self.reason = reason


class DaemonUnreachable(PynetError):
    """The CLI could not talk to the daemon."""

    http_status = 503
    exit_code = 9

    def __init__(self, socket_path: str, reason: str) -> None:
        super().__init__(
            f"no pynet daemon answers at {socket_path}: {reason}; "
            "start it with 'pynet daemon', or name its socket with --admin-socket"
        )
        self.socket_path = socket_path
        self.reason = reason


class EngineUnreachable(PynetError):
    """No Docker Engine answers."""

    http_status = 503
    exit_code = 9

    def __init__(self, endpoint: str, reason: str) -> None:
        super().__init__(f"no Docker Engine answers at {endpoint}: {reason}")
        self.endpoint = endpoint
        self.reason = reason


class DeadlineExceeded(PynetError):
    """It took too long and was given up; what was begun is finished or undone by reconcile."""

    http_status = 504
    exit_code = 10

    def __init__(self, what: str, deadline_s: float) -> None:
        super().__init__(f"{what} did not finish within {deadline_s:g} s")
        self.what = what
        self.deadline_s = deadline_s


class Drift(PynetError):
    """The kernel differs from what pynet wants; `differences` are sentences."""

    exit_code = 11

    def __init__(self, differences: Sequence[str]) -> None:
        super().__init__("the kernel differs from the plan: " + "; ".join(differences))
        self.differences = tuple(differences)
