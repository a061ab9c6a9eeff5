"""Why a DICOM file is not taken."""

from __future__ import annotations

from medssl.archive.reasons import Reason


class Unreadable(Exception):
    """A file that is not taken, and why; `detail` holds numbers and enums alone."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
