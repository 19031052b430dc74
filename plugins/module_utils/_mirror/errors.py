"""What can go wrong on a mirror: one exception with a stable code, what happened, and what to do next."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

from .masking import masked


class MirrorError(Exception):
    """A failure that a person or a program can act on.

    `code` is a stable word (see docs/mirror.md), `message` says what happened to what, `hint` what to do next.
    `retriable` failures may pass by themselves; `retry_after` is the number of seconds the other side asked to wait.
    """

    def __init__(
        self, code: str, message: str, hint: str, retriable: bool = False, retry_after: float | None = None
    ) -> None:
        # The message may quote the output of a program, a response or a file.
        message = masked(message)
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.retriable = retriable
        self.retry_after = retry_after

    def as_dict(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message, "hint": self.hint}


class SettingsError(MirrorError):
    """Settings that cannot be used; every fault found is named in the message."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__("settings", message, hint)


class LockedError(MirrorError):
    """Another run works on this mirror."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__("locked", message, hint)


class Cancelled(MirrorError):
    """The run was asked to stop."""

    def __init__(self) -> None:
        super().__init__(
            "cancelled", "the run was stopped", "Run the sync again: it carries on with what was already downloaded."
        )
