"""Give up what a process that reads hostile packets does not need: all privileges."""

from __future__ import annotations

import ctypes
import os

NOBODY = 65534

_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITIES = 64  # more than there are; unknown ones are refused, which ends the loop
_CAPABILITY_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("bits", ctypes.c_uint32 * 6),)  # effective, permitted, inheritable; low, high


def drop() -> None:
    """Become nobody where we are root, without a capability, and without a way to gain any.

    What has been opened stays open. Modules that are not imported yet may be out of reach.

    Raises:
        OSError: it cannot be done.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    if os.geteuid() == 0:
        for number in range(_CAPABILITIES):
            if libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0):
                break
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)  # kernels before 4.3 have none
    header, sets = _Header(_CAPABILITY_VERSION_3, 0), _Sets()
    _check(libc.capset(ctypes.byref(header), ctypes.byref(sets)))


def _check(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
