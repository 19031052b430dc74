"""One sync: asks the source about every unit, decides, downloads in parallel, publishes what was verified."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator, NamedTuple

from . import lag
from .adoption import Adoption, adopt, claimed_versions, examine, is_adoptable
from .cancel import Cancel
from .decide import (
    NOTHING,
    PEEK,
    Answer,
    Found,
    Options,
    Step,
    View,
    asks_for_size,
    decide,
    failed,
    fed_by_promotion,
    is_left_to_promotions,
    question,
)
from .errors import Cancelled, LockedError, MirrorError
from .files import remove_tree
from .privileges import acting_as_owner
from .progress import Report, Silent
from .records import Release, release_name
from .results import SyncResult, UnitResult
from .session import Mirror, MirrorSession
from .settings import PackagePolicy, Settings
from .sources.base import Source
from .sources.choice import open_source
from .state import State
from .times import now_iso
from .transport import BandwidthLimit
from .units import Unit
from .versions import Versions
from .workspace import Workspace

if TYPE_CHECKING:
    from .download import Download

# Requests for versions are small: with this many at once, a sync without news takes as long as one request.
_UNITS_AT_ONCE = 16


def sync(
    settings: Settings,
    check: bool = False,
    accept: frozenset[str] = frozenset(),
    report: Report | None = None,
    cancel: Cancel | None = None,
) -> SyncResult:
    """Brings the mirror up to date; with `check`, only reports what that would do and writes nothing.

    `accept` holds codes of refusals (`refusals.ACCEPTABLE`) that do not count in this run.

    Failures of units are in the result. Raises `LockedError` while another sync or an import works on the mirror, and
    `MirrorError` when nothing could be done at all (the root cannot be written, TLS files cannot be used).
    """
    cancel = cancel or Cancel()
    followed, promoted = settings.followed_units(), settings.promoted_units()
    workspace = Workspace(settings.root, settings.retain)
    source = open_source(settings, workspace, cancel, accept)
    run = _Sync(
        mirror=Mirror(settings),
        workspace=workspace,
        source=source,
        options=Options(source.name, settings.is_replica, accept),
        policy=settings.policy,
        bandwidth=BandwidthLimit(settings.parallel, settings.rate_limit, cancel),
        report=report or Silent(),
        cancel=cancel,
        check=check,
        turns=_Turns(),
    )
    with acting_as_owner(settings.root) if check else workspace.occupied(followed):
        return run.perform(followed, promoted)


class _Turns:
    """One worker at a time fetches a package that several channels serve; the others then find it stored."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    @contextlib.contextmanager
    def of(self, unit: Unit, offered: Versions) -> Iterator[None]:
        """Keeps other workers from fetching the same package meanwhile, if the source identifies the package."""
        if not offered.sha256:
            yield
            return
        with self._lock:
            lock = self._locks.setdefault(f"{unit.pool}/{offered.sha256}", threading.Lock())
        with lock:
            yield


class _Snapshot(NamedTuple):
    """The mirror as it was when the work on some units began."""

    state: State
    broken: dict[Unit, MirrorError]
    wrong_links: set[Unit]
    last_results: dict[Unit, dict[str, Any]]


class _Task(NamedTuple):
    """One unit at work. `postponed`: the source does not have the unit, so its work is decided after the others."""

    unit: Unit
    view: View
    step: Step
    started: float
    retries: _Retries
    adoption: Adoption | None = None
    postponed: bool = False


class _Sync(NamedTuple):
    """What all units of a run share."""

    mirror: Mirror
    workspace: Workspace
    source: Source
    options: Options
    policy: PackagePolicy
    bandwidth: BandwidthLimit
    report: Report
    cancel: Cancel
    check: bool
    turns: _Turns

    def perform(self, followed: list[Unit], promoted: list[Unit]) -> SyncResult:
        started = now_iso()
        wrong_links = self._wrong_links()
        if self.check:
            units, errors = self._work_on_all(followed, promoted, {}, wrong_links)
            return SyncResult(started, now_iso(), units, errors, ())
        try:
            broken = self.mirror.change(lambda session: session.broken)
            units, errors = self._work_on_all(followed, promoted, broken, wrong_links)
        except LockedError:
            raise
        except MirrorError as error:
            units, errors = (), (error,)
        result = self._finish(started, units, errors)
        self.report.finished(result.as_dict())
        return result

    def _finish(self, started: str, units: tuple[UnitResult, ...], errors: tuple[MirrorError, ...]) -> SyncResult:
        """Removes old releases and records the result."""

        def work(session: MirrorSession) -> SyncResult:
            pruned: tuple[str, ...] = ()
            problems = errors
            try:
                pruned = tuple(session.prune())
            except MirrorError as error:
                problems = (*errors, error)
            result = SyncResult(started, now_iso(), units, problems, pruned)
            last = session.state.last_sync()
            session.record(last_sync=result.as_dict(), last_success=self._success(last.get("last_success"), result))
            proof = self.source.proof
            if proof:
                session.trust(lambda trust: trust.after(proof))
            if not result.failed:
                session.record(origin=proof.origin if proof else None, chain=self.source.chain)
            return result

        try:
            return self.mirror.change(work)
        except MirrorError as error:
            return SyncResult(started, now_iso(), units, (*errors, error), ())

    def _success(self, last: str | None, result: SyncResult) -> str | None:
        """When the mirror was last known to be current. Another mirror is as current as it says itself."""
        if result.failed:
            return last
        said = self.source.current_at
        return max(last or "", min(said, result.finished)) if said else result.finished

    def _wrong_links(self) -> set[Unit]:
        """Units with wrong links, which a killed run or somebody else left."""
        state = self.mirror.state()
        return {unit for unit in state.units() if self.mirror.store.links_differ(unit, state.channel(unit))}

    # --- all units ----------------------------------------------------------------------------------------------

    def _work_on_all(
        self,
        followed: list[Unit],
        promoted: list[Unit],
        broken: dict[Unit, MirrorError],
        wrong_links: set[Unit],
    ) -> tuple[tuple[UnitResult, ...], tuple[MirrorError, ...]]:
        """Works first on the units that follow the source: this may repair releases that other channels serve too."""
        state = self.mirror.state()
        last_results = lag.by_unit(state.last_sync().get("last_sync"))
        fed = [
            unit for unit in [*followed, *promoted] if fed_by_promotion(unit, state.channel(unit), self.options.replica)
        ]
        following = [unit for unit in followed if unit not in fed]
        first = self._work(following, _Snapshot(state, broken, wrong_links, last_results), {})
        answers = {task.unit: task.view.answers[task.unit] for task in first if isinstance(task, _Task)}
        later = _Snapshot(self.mirror.state(), broken, wrong_links, last_results)
        second = self._work([*fed, *answers], later, answers)
        results = [result for result in [*first, *second] if isinstance(result, UnitResult)]
        problems = [result.step.problem for result in results if result.step.problem]
        worked_on = {*following, *fed}
        problems += [error for unit, error in broken.items() if unit not in worked_on]
        return tuple(result for result in results if not result.step.skipped), tuple(problems)

    def _work(self, units: list[Unit], snapshot: _Snapshot, answers: dict[Unit, Answer]) -> list[UnitResult | _Task]:
        """The results of the units, in their order; for a unit that only promotions can feed, its task."""
        finished: dict[Unit, UnitResult | _Task] = {}
        with _pool(len(units)) as questions, _pool(len(units)) as downloads:
            try:
                planned = [questions.submit(self._plan, unit, snapshot, answers.get(unit)) for unit in units]
                to_fetch, fetching = [], []
                for done in concurrent.futures.as_completed(planned):
                    task = done.result()
                    if task.step.fetch and not self.check:
                        to_fetch.append((task, task.step.fetch))
                        if not self.source.fetches_all_at_once:
                            fetching.append(downloads.submit(self._fetch, task, task.step.fetch))
                    else:
                        finished[task.unit] = task if task.postponed else self._result(task, task.step, 0)
                if self.source.fetches_all_at_once and to_fetch:
                    self._fetch_all_at_once(to_fetch)
                    fetching = [downloads.submit(self._fetch, task, offered) for task, offered in to_fetch]
                for fetched in concurrent.futures.as_completed(fetching):
                    result = fetched.result()
                    finished[result.step.unit] = result
            except BaseException:
                # Mainly for Ctrl-C: this wakes the workers before the pools wait for them.
                self.cancel.set()
                raise
        return [finished[unit] for unit in units]

    def _fetch_all_at_once(self, tasks: list[tuple[_Task, Versions]]) -> None:
        wanted = {task.unit: offered for task, offered in tasks}
        self.source.prepare(wanted, tasks[0][0].retries)

    # --- one unit: before the download --------------------------------------------------------------------------

    def _plan(self, unit: Unit, snapshot: _Snapshot, answer: Answer | None) -> _Task:
        """Examines a unit, asks the source, decides, and does everything except the download."""
        started, found, retries = time.monotonic(), Found(), _Retries(unit, self.report)
        view = View(now_iso(), self.options, snapshot.state.channels, {unit: found}, {}, {}, snapshot.last_results)
        adoption, first = None, answer is None
        try:
            with self._faults_explained():
                found, adoption = self._find(unit, snapshot)
                stored = {unit: snapshot.state.names(unit)}
                view = view._replace(found={unit: found}, stored=stored)
                answer = answer or self._ask(unit, view, retries)
                view = view._replace(answers={unit: answer}, published=self._published(unit, found, answer))
                step = decide(unit, view)
                fed = fed_by_promotion(unit, snapshot.state.channel(unit), self.options.replica)
                postponed = first and not fed and is_left_to_promotions(unit, answer)
                task = _Task(unit, view, step, started, retries, adoption, postponed)
                if not self.check and not postponed:
                    self._act(task)
                return task
        except MirrorError as error:
            versions = found.versions or snapshot.state.served_versions(unit)
            found = found._replace(versions=versions, broken=error, previous_damaged=None)
            view = view._replace(found={unit: found})
            step = decide(unit, view)
            return _Task(unit, view, step, started, retries)

    def _find(self, unit: Unit, snapshot: _Snapshot) -> tuple[Found, Adoption | None]:
        """What the unit serves, and what is wrong with it. Nothing is changed."""
        state = snapshot.state
        channel = state.channel(unit)
        if unit in snapshot.broken:
            return Found(versions=state.served_versions(unit), broken=snapshot.broken[unit]), None
        if is_adoptable(self.mirror.root, unit, channel):
            return self._find_adoptable(unit)
        store, release, versions = self.mirror.store, state.current(unit), state.served_versions(unit)
        whole = state.is_whole(unit, channel.current)
        previous = state.previous(unit)
        lost = channel.previous and not self.check and not state.is_whole(unit, channel.previous)
        to_repair = [
            stored
            for stored, usable in ((release, whole), (previous, not lost))
            if stored is not None and usable and store.small_files_differ(stored)
        ]
        damaged = versions is not None and not whole
        return Found(
            name=channel.current,
            versions=versions,
            release=release,
            damaged=damaged,
            repairable=whole and (release in to_repair or unit in snapshot.wrong_links),
            to_repair=tuple(to_repair),
            previous_damaged=channel.previous if lost else None,
            notes=("the published package was damaged",) if damaged and release is not None else (),
        ), None

    def _find_adoptable(self, unit: Unit) -> tuple[Found, Adoption | None]:
        if self.check:
            claimed = claimed_versions(self.mirror.root, unit)
            return Found(versions=claimed, adoptable=claimed is not None), None
        adoption = examine(self.mirror.root, unit, self.policy, self.cancel)
        release, notes = adoption.releases.get(unit.path), tuple(problem.message for problem in adoption.problems)
        if release is None:
            return Found(notes=notes), adoption
        found = Found(release.name, release.versions, release, adoptable=True, notes=notes)
        return found, adoption

    def _ask(self, unit: Unit, view: View, retries: _Retries) -> Answer:
        """The answer of the source, as far as the decision needs it."""
        how = question(unit, view)
        if how == NOTHING:
            return Answer()
        try:
            with self.source.client() as client:
                offered = self.source.versions(client, unit, _give_up if how == PEEK else retries)
                asks = how != PEEK and asks_for_size(view.found[unit], offered)
                return Answer(offered, size=self.source.size(client, unit) if asks else None)
        except Cancelled:
            raise
        except MirrorError as error:
            return Answer(error=error)

    def _published(self, unit: Unit, found: Found, answer: Answer) -> dict[Unit, dict[str, Versions]]:
        """The packages that were published before, where the source names one with other versions than are served."""
        offered = answer.offered
        if not offered or not offered.sha256 or (found.versions and offered.same_as(found.versions)):
            return {}
        return {unit: self.mirror.state().published(unit)}

    def _act(self, task: _Task) -> None:
        """Adopts and repairs everything that needs no download."""
        step, unit = task.step, task.unit
        if task.adoption:
            adopt(self.mirror, self.workspace, unit, task.adoption)
        if step.repair or step.drop_previous:

            def work(session: MirrorSession) -> None:
                for release in step.repair:
                    session.repair(release)
                channel = session.state.channel(unit)
                if step.drop_previous and channel.previous == step.drop_previous:
                    session.set_channel(unit, channel.without_previous())

            self.mirror.change(work)
        if step.fetch is None:
            # A run may have been killed right after it published its download.
            self.workspace.discard_download(unit)

    # --- one unit: the download ---------------------------------------------------------------------------------

    def _fetch(self, task: _Task, offered: Versions) -> UnitResult:
        """Downloads the package that was decided on, and publishes it if that decision is still right."""
        from .download import Download

        unit = task.unit
        task = task._replace(started=time.monotonic())
        download = Download(
            self.workspace, unit, self.policy, self.bandwidth, self.cancel, self.report.progress_of(str(unit))
        )
        try:
            with self._faults_explained(), self.turns.of(unit, offered):
                stored = self._stored(unit, offered)
                if stored is not None:
                    step = self._publish(task, stored.versions, stored, None)
                else:
                    step = self._download_and_publish(task, offered, download)
                download.discard()
        except MirrorError as error:
            step = failed(task.step, error, task.view)
        return self._result(task, step, download.received)

    def _stored(self, unit: Unit, offered: Versions) -> Release | None:
        """The release with exactly the offered package, if another channel or an earlier run has stored it."""
        if not offered.sha256:
            return None
        name = release_name(offered.definitions, offered.engine, offered.sha256)
        state = self.mirror.state()
        release = state.release(unit, name)
        return release if release and release.sha256 == offered.sha256 and state.is_whole(unit, name) else None

    def _download_and_publish(self, task: _Task, offered: Versions, download: Download) -> Step:
        unit = task.unit
        self.report.unit_started(str(unit), str(offered))
        with self.source.client() as client:
            downloaded, versions = self.source.fetch(client, unit, offered, download, task.retries)
        release = Release(
            unit.pool,
            versions.definitions,
            versions.engine,
            versions.date,
            downloaded.sha256,
            downloaded.bytes,
            now_iso(),
            self.source.name,
        )
        known = {unit: self.mirror.state().published(unit)}
        task = task._replace(view=task.view._replace(published=known))
        again = decide(unit, task.view.with_package(unit, versions, release.sha256))
        if again.fetch is None:
            return again
        return self._publish(task, versions, release, self.workspace.prepared(downloaded.path, release))

    def _publish(self, task: _Task, versions: Versions, release: Release, prepared: Path | None) -> Step:
        """Decides again from what the mirror serves now, and publishes if that is still right."""
        unit = task.unit

        def work(session: MirrorSession) -> Step:
            if unit in session.broken:
                raise session.broken[unit]
            channel = session.state.channel(unit)
            found = task.view.found[unit]
            if channel.current != found.name:
                # An operator changed the channel meanwhile.
                found = Found(channel.current, session.state.served_versions(unit), session.state.current(unit))
            view = task.view._replace(channels=session.state.channels, found={unit: found})
            step = decide(unit, view.with_package(unit, versions, release.sha256))
            if step.fetch is None:
                return step
            if channel.current is None and task.adoption:
                channel = channel.adopt(None, task.adoption.previous_name(unit))
            whole = channel.current != release.name and session.state.is_whole(unit, channel.current)
            previous = session.state.previous_after(unit, release.name) if step.rolls_back else ""
            stored = session.add(prepared, release) if prepared else release
            if step.rolls_back:
                session.set_channel(unit, channel.roll_back(stored.name, previous, None, "sync", step.accepted))
                return step
            action = "sync" if step.outcome == "updated" else "repair"
            session.set_channel(
                unit,
                channel.publish(
                    stored.name,
                    action,
                    current_is_whole=whole,
                    discard_current=step.discard_current,
                    accepted=step.accepted,
                ),
            )
            return step

        try:
            return self.mirror.change(work)
        finally:
            if prepared:
                remove_tree(prepared)

    # --- results ------------------------------------------------------------------------------------------------

    def _result(self, task: _Task, step: Step, received: int) -> UnitResult:
        notes = (*task.view.found[task.unit].notes, *task.retries.messages)
        result = UnitResult(step, received, time.monotonic() - task.started, notes)
        if not step.skipped:
            self.report.unit_finished(result.as_dict())
        return result

    @contextlib.contextmanager
    def _faults_explained(self) -> Iterator[None]:
        """Makes a bug in this program an error of one unit, so that the run continues."""
        try:
            yield
        except MirrorError:
            raise
        except Exception as error:
            self.report.bug(error)
            raise MirrorError(
                "internal",
                f"an internal error of mde-mirror: {type(error).__name__}: {error}",
                "Please report it with the output of a run with MDE_MIRROR_DEBUG=1. What is published was not touched.",
            ) from error


class _Retries:
    """Collects the failures of one unit that are retried: each is reported at once and kept for the result."""

    def __init__(self, unit: Unit, report: Report) -> None:
        self._unit, self._report = unit, report
        self.messages: list[str] = []

    def __call__(self, error: MirrorError, pause: float) -> None:
        self.messages.append(error.message)
        self._report.retrying(str(self._unit), error.message, pause)


def _give_up(error: MirrorError, _pause: float) -> None:
    """Prevents a retry, for requests whose failure is not an error."""
    raise error


def _pool(wanted: int) -> concurrent.futures.ThreadPoolExecutor:
    return concurrent.futures.ThreadPoolExecutor(max_workers=max(1, min(wanted, _UNITS_AT_ONCE)))
