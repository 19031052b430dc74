"""Decides what a sync does with each unit, from what is served, what is offered, and what operators asked for.

These are pure functions: they read no files, ask no servers and change nothing. A sync decides again in the session
before it publishes.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any, Collection, Mapping, NamedTuple

from . import lag, refusals
from .errors import MirrorError
from .records import Channel, Release, release_name
from .units import RINGS, Unit
from .versions import Offer, Versions

# What a sync asks the source about a unit: nothing, or which versions it offers. PEEK is for information only: the
# request is not retried, and its failure does not make the unit fail.
NOTHING, OFFERED, PEEK = "nothing", "offered", "peek"


class Found(NamedTuple):
    """What was found in the folder of a unit.

    - `versions`: the versions that the unit serves, even if the release is missing.
    - `adoptable`: the package is in a folder that Microsoft's script left and no link has replaced yet.
    - `damaged`: the package is missing or is not the one that was verified.
    - `repairable`: the package is whole, but a link or a small file beside the package is not.
    - `to_repair`: the releases whose small files differ, n-1 included.
    - `previous_damaged`: the name of an n-1 whose package is missing or damaged.
    - `broken`: why nothing can be done with the unit.
    """

    name: str | None = None
    versions: Versions | None = None
    release: Release | None = None
    adoptable: bool = False
    damaged: bool = False
    repairable: bool = False
    to_repair: tuple[Release, ...] = ()
    previous_damaged: str | None = None
    broken: MirrorError | None = None
    notes: tuple[str, ...] = ()


class Answer(NamedTuple):
    """The source's answer about a unit. `size` is the size of the offered package, requested only if needed.

    `sha256` is the SHA-256 of the package, once it was fetched.
    """

    offered: Versions | None = None
    error: MirrorError | None = None
    size: int | None = None
    sha256: str = ""


class Options(NamedTuple):
    """`source` is the name of the source. `replica`: the source is another mirror, whose channels are followed too.

    `accept` holds codes of refusals that the operator overrides in this run; see `refusals.ACCEPTABLE`.
    """

    source: str
    replica: bool = False
    accept: frozenset[str] = frozenset()


class View(NamedTuple):
    """Everything that the decisions of a sync depend on.

    `stored` names the releases that a rollback could serve. `published` has the versions of the packages that were
    published before for the platform and architecture, by SHA-256.
    """

    now: str
    options: Options
    channels: Mapping[Unit, Channel]
    found: Mapping[Unit, Found]
    answers: Mapping[Unit, Answer]
    stored: Mapping[Unit, Collection[str]] = {}
    last_results: Mapping[Unit, dict[str, Any]] = {}
    published: Mapping[Unit, Mapping[str, Versions]] = {}

    def with_package(self, unit: Unit, offered: Versions, sha256: str) -> View:
        """The view after the source proved to have this package of a unit, with these versions."""
        answers = {**self.answers, unit: self.answers[unit]._replace(offered=offered, sha256=sha256)}
        return self._replace(answers=answers)


class Step(NamedTuple):
    """What is to be done with one unit, and its result once that is done.

    - `fetch`: the offer to download and publish.
    - `discard_current`: the served package is not the one that its manifest names, so it does not become n-1.
    - `rolls_back`: the other mirror was rolled back, and this one follows.
    - `accepted`: the codes of refusals that the operator overrode.
    - `skipped`: nothing feeds the unit yet, so the result leaves it out.
    - `problem`: an error that does not make the unit fail.
    """

    unit: Unit
    outcome: str
    before: Versions | None
    after: Versions | None
    offered: Versions | None = None
    behind_since: str | None = None
    adopt: bool = False
    repair: tuple[Release, ...] = ()
    drop_previous: str | None = None
    fetch: Versions | None = None
    discard_current: bool = False
    rolls_back: bool = False
    accepted: tuple[str, ...] = ()
    skipped: bool = False
    error: MirrorError | None = None
    problem: MirrorError | None = None
    notes: tuple[str, ...] = ()


def fed_by_promotion(unit: Unit, channel: Channel, replica: bool) -> bool:
    """True if only promotions feed a unit: no source has it, or a promotion made the channel this mirror's own."""
    return unit.channel not in RINGS and channel.current is not None and (channel.own or not replica)


def question(unit: Unit, view: View) -> str:
    """What the source must be asked before `decide` is called."""
    channel, found = view.channels.get(unit, Channel()), view.found[unit]
    if found.broken:
        return NOTHING
    if fed_by_promotion(unit, channel, view.options.replica):
        return PEEK if view.options.replica and channel.own and not found.damaged else NOTHING
    return PEEK if channel.hold and not found.damaged else OFFERED


def asks_for_size(found: Found, offered: Versions) -> bool:
    """True if the size of the offered package is needed to check whether an adopted package matches its manifest."""
    return found.adoptable and found.release is not None and offered.same_as(found.release.versions)


def is_left_to_promotions(unit: Unit, answer: Answer) -> bool:
    """True for an extra channel that the other mirror does not have."""
    return answer.error is not None and answer.error.code == "not_offered" and unit.channel not in RINGS


def decide(unit: Unit, view: View) -> Step:
    """What is to be done with a unit, after the source was asked what `question` returned."""
    channel, found = view.channels.get(unit, Channel()), view.found[unit]
    answer = view.answers.get(unit, Answer())
    step = _kept(unit, channel, found)
    if found.broken:
        return failed(step, found.broken, view)
    if fed_by_promotion(unit, channel, view.options.replica) or is_left_to_promotions(unit, answer):
        return _left_to_promotions(step, channel, found, answer, view)
    if channel.hold and not found.damaged:
        offered, notes = _believed(step, found, answer, view)
        return _with_lag(step._replace(offered=offered, notes=notes), view)
    if answer.error or answer.offered is None:
        return failed(step, answer.error or _no_answer(unit), view)
    return _followed(step, channel, found, answer, answer.offered, view)


def _kept(unit: Unit, channel: Channel, found: Found) -> Step:
    """The step of a unit that stays as it is, except for repairs that do not need the source."""
    outcome = "adopted" if found.adoptable else ("repaired" if found.repairable else "unchanged")
    if channel.hold and not found.damaged:
        outcome = "held"
    return Step(
        unit,
        outcome,
        found.versions,
        found.versions,
        adopt=found.adoptable,
        repair=found.to_repair,
        drop_previous=found.previous_damaged,
        problem=_previous_lost(unit, found.previous_damaged) if found.previous_damaged else None,
    )


def _followed(step: Step, channel: Channel, found: Found, answer: Answer, offered: Versions, view: View) -> Step:
    """A unit that takes what the source offers, if that is newer or repairs what is damaged."""
    step = step._replace(offered=offered)
    same = found.versions is not None and offered.same_as(found.versions)
    other, note = _is_another_package(found, answer, offered, view.options) if same else (False, ())
    step = step._replace(notes=note, discard_current=other and found.adoptable)
    if same and not found.damaged and not other:
        return _with_lag(step, view)
    if channel.hold and not same:
        return failed(step, _held_and_lost(step, offered), view)
    rolls_back = _is_rollback(offered, found.versions)
    error, accepted = refusals.judge(
        _offering(step, answer, offered, view),
        found.versions,
        view.published.get(step.unit, {}),
        lambda: _downgrade(step, channel, offered, found.versions, view),
        view.options.accept | {refusals.DOWNGRADE} if rolls_back else view.options.accept,
    )
    if rolls_back:
        # An operator of the other mirror decided this. No operator of this mirror accepted a downgrade.
        accepted = tuple(code for code in accepted if code != refusals.DOWNGRADE)
        said = f"{view.options.source} was rolled back from {found.versions}, and this mirror follows"
        step = step._replace(notes=(*step.notes, said))
    if offered.offer:
        accepted = (*offered.offer.accepted, *accepted)
    if error:
        # What is refused for another code says nothing about what the source really has.
        seen = offered if error.code == refusals.DOWNGRADE else None
        return failed(step._replace(offered=seen), error, view)
    outcome = "repaired" if same else "updated"
    step = step._replace(outcome=outcome, after=offered, fetch=offered, rolls_back=rolls_back, accepted=accepted)
    return _with_lag(step, view)


def _is_rollback(offered: Versions, served: Versions | None) -> bool:
    """True if lower versions are known to be an operator's rollback of the other mirror."""
    offer = offered.offer
    if offer is None or served is None or not offered.lower_than(served):
        return False
    return offer.proven and offer.took_back(served)


def _offering(step: Step, answer: Answer, offered: Versions, view: View) -> refusals.Offering:
    sha256 = answer.sha256 or offered.sha256
    return refusals.Offering("the source offers", str(step.unit), "sync", offered, sha256, view.now)


def _believed(step: Step, found: Found, answer: Answer, view: View) -> tuple[Versions | None, tuple[str, ...]]:
    """What the source offers for a channel that is held, unless that cannot be true."""
    if answer.offered is None:
        return None, _not_known(answer)
    error = refusals.implausible(_offering(step, answer, answer.offered, view), found.versions)
    return (None, (error.message,)) if error else (answer.offered, ())


def _is_another_package(
    found: Found, answer: Answer, offered: Versions, options: Options
) -> tuple[bool, tuple[str, ...]]:
    """Whether the source has another package under the versions that are served.

    Microsoft's script fetches a package first and asks for its versions afterwards. If a release is published in
    between, the old package is stored under the new versions. For an adopted package, a difference from the size of the
    offered package shows this.
    """
    release = found.release
    if found.damaged or release is None:
        return False, ()
    if found.adoptable:
        if answer.size is None or answer.size == release.size:
            return False, ()
        return True, (
            f"the adopted package has {release.size} bytes, but the source has {answer.size} bytes for the "
            "same versions",
        )
    if offered.sha256 in ("", release.sha256):
        return False, ()
    return True, (f"{options.source} serves another package under the same versions",)


def _left_to_promotions(step: Step, channel: Channel, found: Found, answer: Answer, view: View) -> Step:
    step = step._replace(skipped=found.versions is None)
    if found.damaged:
        return failed(step, _lost(f"{step.unit} serves {found.versions}, whose package was damaged or deleted"), view)
    if view.options.replica and not step.skipped:
        if not channel.own:
            note = f"{view.options.source} serves no channel of this name, so the channel waits for a promotion"
            step = step._replace(notes=(note,))
        elif answer.offered is not None:
            note = (
                f"{view.options.source} also has a channel of this name, but a promotion fed this mirror's own "
                "channel, so it does not follow the other one"
            )
            step = step._replace(notes=(note,))
    return _with_lag(step, view)


def failed(step: Step, error: MirrorError, view: View) -> Step:
    """The step of a unit for which nothing could be published."""
    return _with_lag(step._replace(outcome="failed", after=step.before, fetch=None, error=error, skipped=False), view)


def _with_lag(step: Step, view: View) -> Step:
    offer = step.offered.offer if step.offered else None
    published = offer.published if offer else None
    last = view.last_results.get(step.unit)
    return step._replace(behind_since=lag.since(step.after, step.offered, published, last, view.now))


# --- notes and errors -------------------------------------------------------------------------------------------------


def _not_known(answer: Answer) -> tuple[str, ...]:
    return (f"what the source offers is not known: {answer.error.message}",) if answer.error else ()


def _no_answer(unit: Unit) -> MirrorError:
    return MirrorError("not_offered", f"the source did not say what it offers for {unit}", "Sync again.")


def _lost(what: str) -> MirrorError:
    return MirrorError(
        "damaged", what, "Promote to the channel, roll it back or unhold it, so that it serves a release that is whole."
    )


def _held_and_lost(step: Step, offered: Versions) -> MirrorError:
    return _lost(
        f"{step.unit} is held at {step.before}, whose package was damaged or deleted; the source has moved on to "
        f"{offered}"
    )


def _previous_lost(unit: Unit, name: str) -> MirrorError:
    return MirrorError(
        "back_damaged",
        f"the previous release of {unit} ({name}) was damaged or deleted, so it is not served any more",
        "The source has newer releases only, so it cannot be repaired; the next release brings a new n-1. Find out who "
        "or what writes to the folder of the mirror.",
    )


def _downgrade(step: Step, channel: Channel, offered: Versions, served: Versions | None, view: View) -> MirrorError:
    step_up = refusals.notable_step(channel, view.now)
    if offered.offer:
        return _upstream_rolled_back(step.unit, offered, offered.offer, served, view, step_up)
    return MirrorError(
        "downgrade",
        f"the source offers {offered} for {step.unit}, lower than the published {served}{step_up}",
        "If Microsoft really withdrew a release, sync once with --allow-downgrade (module: allow_downgrade). "
        "Otherwise look for a cache on the route that serves old files.",
    )


def _upstream_rolled_back(
    unit: Unit, offered: Versions, offer: Offer, served: Versions | None, view: View, step_up: str
) -> MirrorError:
    """The other mirror serves an older release than before. The hint says how to make this one serve it too."""
    hint = "To accept what the other mirror serves, run `mde-mirror sync --allow-downgrade` (module: allow_downgrade)."
    doubt = ""
    if served and not offer.proven and offer.took_back(served):
        doubt = ". Its status is neither signed nor read over TLS, so it is unknown whether an operator decided this"
    name = release_name(offered.definitions, offered.engine, offer.sha256)
    if name in view.stored.get(unit, ()):
        hint = (
            f"To roll this channel back too, run `mde-mirror rollback {unit.channel} --to {name} --platform "
            f"{unit.platform} --arch {unit.arch}`, which holds the channel until `mde-mirror unhold {unit.channel}`. "
            "To accept everything that the other mirror serves, run `mde-mirror sync --allow-downgrade` (module: "
            "allow_downgrade)."
        )
    return MirrorError(
        "downgrade",
        f"the mirror {view.options.source} went back to {offered} for {unit}, lower than the published {served}: "
        f"{offer.reason()}{doubt}{step_up}",
        hint,
    )
