"""The errors that medssl raises on purpose.

A fault of the user's input or set-up raises a `MedsslError`; its message says what is wrong,
where, and what to do next, and never holds a patient's name, identifier or source path. The
command line prints the message on one line and exits with `exit_code`.
"""

from __future__ import annotations

import errno

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What an OSError's errno is where a file cannot grow: disk, quota, or the size allowed a file."""


class MedsslError(Exception):
    """Something that the user can put right."""

    exit_code = 2


class ConfigError(MedsslError):
    """A configuration file or override that cannot be used."""


class StoreError(MedsslError):
    """A store that is missing, half-made, or of another schema version."""


class KeyFileError(MedsslError):
    """The secret key is missing, too short, or readable by others."""


class GeometryError(MedsslError):
    """An affine, spacing or grid that does not describe a volume in space."""


class CodecError(MedsslError):
    """A decoder that is not installed; the message names the package."""


class CheckpointError(MedsslError):
    """A checkpoint that is missing, damaged, or does not fit the network."""


class TrainingError(MedsslError):
    """Training that cannot go on: no data, a loss that is not finite, a full disk."""


class OutOfMemory(TrainingError):
    """The memory does not suffice for network and batch."""


class Interrupted(MedsslError):
    """Work that stopped before its end; the same command takes it up where it was.

    A scheduler can act on the exit code: EX_TEMPFAIL of sysexits.h.
    """

    exit_code = 75


class StudyError(MedsslError):
    """A label-efficiency study whose plan, data or files do not allow the step asked for."""


class JudgedAndFailed(MedsslError):
    """The work was done and its result is a failure, such as rejected input under --strict."""

    exit_code = 1


class CollapseError(MedsslError):
    """A pretraining that was stopped because its encoder learns nothing; the message says how."""

    exit_code = 1
