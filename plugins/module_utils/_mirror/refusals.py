"""What a mirror refuses of an offer: versions that no release makes, and an old package under new versions.

Pure functions, shared by syncs and imports. The attacks have the names of The Update Framework's specification.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Callable, Collection, Mapping, NamedTuple

from .errors import MirrorError
from .records import Channel
from .times import days_between, is_beyond_tomorrow
from .trust import EXPIRED
from .versions import Versions, is_version, version_key

DOWNGRADE = "downgrade"
# The codes of refusals that an operator can override once.
ACCEPTABLE = ("stale_package", "implausible_versions", DOWNGRADE, EXPIRED)

# The second number of the definitions grows by one about every two weeks.
_LARGEST_STEP = 100
# A step of this size is unusual enough to be named when the source is lower afterwards.
_NOTABLE_STEP, _NOTABLE_DAYS = 10, 30


class Offering(NamedTuple):
    """What is offered for a unit, and who offers it, in words: `the source offers`, `linux/production/x86_64`, `sync`.

    `sha256` is that of the package; empty if it is not known yet. `now` is the time at which the offer is judged.
    """

    who: str
    unit: str
    verb: str
    versions: Versions
    sha256: str
    now: str

    def accept(self, code: str) -> str:
        return f"{self.verb} once with --accept {code} (module: accept)"


def judge(
    offering: Offering,
    served: Versions | None,
    published: Mapping[str, Versions],
    downgrade: Callable[[], MirrorError],
    accepted: Collection[str],
) -> tuple[MirrorError | None, tuple[str, ...]]:
    """The first refusal that the operator does not override, and the codes of those that the operator overrides.

    `published` has the versions of packages that were published before, by SHA-256. `downgrade` makes the error for
    versions that are lower than the served ones.
    """
    lower = served is not None and offering.versions.lower_than(served)
    # An accepted downgrade of the definitions also takes back a jump that was accepted by mistake.
    takes_back = lower and served is not None and offering.versions.has_lower_definitions_than(served)
    compared = None if takes_back and DOWNGRADE in accepted else served
    errors = (implausible(offering, compared), _stale(offering, published), downgrade() if lower else None)
    found = [error for error in errors if error is not None]
    return (
        next((error for error in found if error.code not in accepted), None),
        tuple(error.code for error in found if error.code in accepted),
    )


def implausible(offering: Offering, served: Versions | None) -> MirrorError | None:
    """Why the versions cannot be those of a release: a date that is yet to come, or a jump (fast-forward attack).

    Lower versions are a downgrade and not a jump.
    """
    offered = offering.versions
    if is_beyond_tomorrow(offered.date, offering.now):
        return MirrorError(
            "implausible_versions",
            f"{offering.who} {offered} for {offering.unit} with the date {offered.date}, which is in the future; the "
            f"clock of this host says {offering.now}",
            "Set the clock of this host if it is wrong. Otherwise the answer is not Microsoft's: find out where it "
            f"comes from. If it is right, {offering.accept('implausible_versions')}.",
        )
    jump = _jump(served, offered) if served else ""
    if not jump:
        return None
    return MirrorError(
        "implausible_versions",
        f"{offering.who} {offered} for {offering.unit} where {served} is published: {jump}",
        "No release makes such a jump, so the answer is probably not Microsoft's: find out where it comes from. If it "
        f"is right, {offering.accept('implausible_versions')}.",
    )


def _jump(served: Versions, offered: Versions) -> str:
    before, after = version_key(served.definitions), version_key(offered.definitions)
    if before[0] != after[0]:
        return "the first number of the definitions differs"
    if after[1] - before[1] > _LARGEST_STEP:
        return f"the second number of the definitions grew by {after[1] - before[1]}"
    return ""


def _stale(offering: Offering, published: Mapping[str, Versions]) -> MirrorError | None:
    """Why the package is not that of the versions: it was published under others before (mix-and-match attack)."""
    before = published.get(offering.sha256)
    if before is None or before.same_as(offering.versions):
        return None
    return MirrorError(
        "stale_package",
        f"{offering.who} {offering.versions} for {offering.unit} with a package that this mirror published before as "
        f"{before}",
        "A cache on the way serves an old package under new versions: have it bypassed for the addresses of the "
        f"source. If the package is right, {offering.accept('stale_package')}.",
    )


def notable_step(channel: Channel, now: str) -> str:
    """What the message of a downgrade adds where the channel took an unusual step lately; else empty."""
    earlier: tuple[int, ...] | None = None
    found = ""
    for entry in channel.history:
        definitions = entry["release"].split("-")[0]
        if entry["action"] in ("hold", "release") or not is_version(definitions):
            continue
        key = version_key(definitions)
        if earlier and key > earlier and (key[0] != earlier[0] or key[1] - earlier[1] > _NOTABLE_STEP):
            days = days_between(entry.get("at"), now)
            if days is not None and 0 <= days < _NOTABLE_DAYS:
                before = ".".join(str(number) for number in earlier)
                found = (
                    f". On {entry['at'][:10]} the channel went from {before} to {definitions}, which is an unusual "
                    "step; if it was wrong, `mde-mirror rollback` or `mde-mirror sync --accept downgrade` takes it back"
                )
        earlier = key
    return found
