"""Retries: limited in number, with a growing pause, and never earlier than the server asks for."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import random
from typing import Callable, TypeVar

from .cancel import Cancel
from .errors import MirrorError

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
LONGEST_REQUESTED_PAUSE = 300.0

T = TypeVar("T")


def retrying(
    attempt: Callable[[], T], retries: int, cancel: Cancel, on_retry: Callable[[MirrorError, float], None] | None = None
) -> T:
    """The result of `attempt`, called again up to `retries` times after a retriable `MirrorError`.

    The pause doubles from one second to a minute, with jitter so that many mirrors do not retry at the same moment. A
    longer Retry-After is obeyed up to five minutes; if the service asks for more, the error is raised.
    """
    for tries_left in range(retries, -1, -1):
        try:
            return attempt()
        except MirrorError as error:
            if not error.retriable or tries_left == 0:
                raise
            requested = error.retry_after or 0.0
            if requested > LONGEST_REQUESTED_PAUSE:
                error.hint = f"The service asks to wait {requested:.0f} seconds. The next scheduled sync tries again."
                raise
            grown = min(FIRST_PAUSE * 2 ** (retries - tries_left), LONGEST_PAUSE) * random.uniform(0.5, 1.0)
            pause = max(grown, requested)
            if on_retry:
                on_retry(error, pause)
            cancel.sleep(pause)
    raise AssertionError("unreachable")
