"""One sync: asks for every unit at once, downloads what is new in parallel, publishes each as soon as it is proven."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Iterator

from . import lag
from .adoption import adopt, left_by_script
from .cancel import Cancel
from .download import Download, Progress
from .errors import Cancelled, MirrorError
from .files import advising, remove_tree
from .lock import locked
from .privileges import acting_as_owner
from .progress import Report, Silent
from .records import Release, release_name
from .settings import Settings
from .sources.base import Notice, Source
from .sources.microsoft import Microsoft
from .sources.replica import Offer, Replica
from .sources.script import Script
from .status import keep_status_true, status
from .store import Store
from .times import now_iso
from .transport import Line
from .units import RINGS, Unit
from .versions import Versions

_SOURCES: dict[str, Callable[[Settings, Cancel], Source]] = {
    "microsoft": Microsoft,
    "mirror": Replica,
    "script": Script,
}
# Questions are small; that many at once keep "nothing new" at the price of one round trip.
_QUESTIONS_AT_ONCE = 16


@dataclass
class UnitResult:
    """What became of one unit. `offered` is what the source had, `bytes` what came over the network for it.

    `outcome`: updated, unchanged, repaired, adopted, held or failed. `behind_since`: since when the source offers
    something newer. `mislabelled`: what was adopted proved to be another package than its manifest says. `nothing`:
    nobody feeds this unit yet, so there is nothing to tell.
    """

    unit: Unit
    outcome: str = "unchanged"
    before: Versions | None = None
    after: Versions | None = None
    offered: Versions | None = None
    behind_since: str | None = None
    bytes: int = 0
    seconds: float = 0.0
    error: MirrorError | None = None
    notes: list[str] = field(default_factory=list)
    mislabelled: bool = False
    nothing: bool = False

    def as_dict(self) -> dict[str, Any]:
        return {
            "platform": self.unit.platform,
            "channel": self.unit.channel,
            "arch": self.unit.arch,
            "outcome": self.outcome,
            "before": self.before.as_dict() if self.before else None,
            "after": self.after.as_dict() if self.after else None,
            **lag.as_fields(self.after, self.offered, self.behind_since),
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "error": self.error.as_dict() if self.error else None,
            "notes": list(self.notes),
        }


@dataclass
class SyncResult:
    """The result of a sync. `errors` are those that belong to no unit; times are ISO 8601 UTC."""

    started: str
    units: list[UnitResult] = field(default_factory=list)
    errors: list[MirrorError] = field(default_factory=list)
    pruned: list[str] = field(default_factory=list)
    finished: str = ""

    @property
    def failed(self) -> bool:
        return bool(self.errors) or any(unit.error for unit in self.units)

    @property
    def changed(self) -> bool:
        return bool(self.pruned) or any(unit.outcome in ("updated", "repaired", "adopted") for unit in self.units)

    def as_dict(self) -> dict[str, Any]:
        return {
            "result": "failed" if self.failed else "ok",
            "changed": self.changed,
            "started": self.started,
            "finished": self.finished,
            "units": [unit.as_dict() for unit in self.units],
            "errors": [error.as_dict() for error in self.errors],
            "pruned": list(self.pruned),
        }


def sync(
    settings: Settings,
    check: bool = False,
    allow_downgrade: bool = False,
    report: Report | None = None,
    cancel: Cancel | None = None,
) -> SyncResult:
    """Brings the mirror up to date; with `check`, only says what that would do and writes nothing.

    Failures of units are in the result. Raises `LockedError` when another run works on the mirror, and `MirrorError`
    when nothing could be done at all (the root cannot be written, TLS files cannot be used).
    """
    run = _Sync(settings, check, allow_downgrade, report or Silent(), cancel or Cancel())
    with acting_as_owner(settings.root):
        if check:
            return run.preview()
        run.store.prepare()
        with locked(run.store.lock_file):
            return run.perform()


class _Sync:
    def __init__(self, settings: Settings, check: bool, allow_downgrade: bool, report: Report, cancel: Cancel) -> None:
        self.settings = settings
        self.store = Store(settings)
        self.source: Source = _SOURCES[settings.source.type](settings, cancel)
        self.check = check
        self.allow_downgrade = allow_downgrade
        self.report = report
        self.cancel = cancel
        self.line = Line(settings.parallel, settings.rate_limit, cancel)
        # Units whose links a dead run or a stranger left wrong.
        self.astray: set[Unit] = set()
        # Units whose links could not be mended.
        self.broken: dict[Unit, MirrorError] = {}
        # What follows the source, and what is fed by promotion.
        self.followed: list[Unit] = []
        self.promoted: list[Unit] = []
        # What the last sync knew of each unit.
        self.known: dict[Unit, dict[str, Any]] = {}
        # One worker at a time fetches a package that several channels serve; the others find it in the store.
        self.fetching: dict[str, threading.Lock] = {}
        self.fetching_lock = threading.Lock()
        # What went wrong and belongs to no unit's outcome.
        self.errors: list[MirrorError] = []

    def preview(self) -> SyncResult:
        result = SyncResult(now_iso())
        self._open()
        result.units = self._work_on_all()
        result.errors = self.errors
        result.finished = now_iso()
        return result

    def perform(self) -> SyncResult:
        result = SyncResult(now_iso())
        self._open()
        try:
            self.broken = self.store.recover()
            keep_status_true(self.store)
            self._drop_foreign_downloads()
            result.units = self._work_on_all()
            result.pruned = self.store.prune()
        except MirrorError as error:
            self.errors.append(error)
        result.errors = self.errors
        result.finished = now_iso()
        self._record(result)
        self.report.finished(result.as_dict())
        return result

    def _open(self) -> None:
        self.store.load()
        self.astray = {unit for unit in self.store.units() if self.store.astray(unit)}
        self.known = lag.by_unit(self.store.last_sync().get("last_sync"))
        units = [*self.settings.units(), *self.settings.promoted_units()]
        self.promoted = [unit for unit in units if unit.channel not in RINGS and self._is_own(unit)]
        self.followed = [unit for unit in self.settings.units() if unit not in self.promoted]

    def _is_own(self, unit: Unit) -> bool:
        """True where promotion alone feeds a unit: no source has it, or this mirror has made the name its own."""
        channel = self.store.channel(unit)
        return channel.current is not None and (channel.own or self.settings.source.type != "mirror")

    def _drop_foreign_downloads(self) -> None:
        """Unfinished downloads of units that are not followed any more only take room."""
        own = {unit.slug + ".download" for unit in self.followed}
        with advising("tidying", self.store.incoming):
            for folder in self.store.incoming.glob("*.download"):
                if folder.name not in own:
                    remove_tree(folder)

    def _record(self, result: SyncResult) -> None:
        try:
            self.store.save_seen()
            last = self.store.last_sync()
            fields = {
                "last_sync": result.as_dict(),
                "last_success": last.get("last_success") if result.failed else result.finished,
            }
            self.store.save_last_sync({**last, **fields})
            self.store.save_status(status(self.store))
        except MirrorError as error:
            result.errors.append(error)

    # --- the units ------------------------------------------------------------------------------------------------

    def _work_on_all(self) -> list[UnitResult]:
        """First what follows the source, then what is fed by promotion: a repair of the one may mend the other."""
        done = self._work(self.followed) + self._work(self.promoted)
        followed = {result.unit for result in done}
        self.errors += [error for unit, error in self.broken.items() if unit not in followed]
        return [result for result in done if not result.nothing]

    def _work(self, units: list[Unit]) -> list[UnitResult]:
        results = {unit: UnitResult(unit) for unit in units}
        with _pool(len(units), _QUESTIONS_AT_ONCE) as questions, _pool(
            len(units), 2 * self.settings.parallel
        ) as downloads:
            try:
                asked = {questions.submit(self._begin, results[unit]): results[unit] for unit in units}
                fetched = []
                for future in concurrent.futures.as_completed(asked):
                    offered = future.result()
                    if offered is not None:
                        fetched.append(downloads.submit(self._fetch, asked[future], offered))
                for finished in concurrent.futures.as_completed(fetched):
                    finished.result()
            except BaseException:
                # A Ctrl-C, above all: the workers must wake before the pools wait for them.
                self.cancel.set()
                raise
        return [results[unit] for unit in units]

    def _begin(self, result: UnitResult) -> Versions | None:
        """Everything short of a download. Returns the versions to fetch, None when this unit is finished."""
        started = time.monotonic()
        wanted: Versions | None = None
        with self._outcome_of(result):
            wanted = self._judge(result)
            if wanted is None and not self.check:
                # A run may have died right after it had published what it downloaded.
                with advising("tidying", self.store.incoming):
                    remove_tree(self.store.incoming / (result.unit.slug + ".download"))
        if wanted is None or self.check:
            self._finish(result, started)
            return None
        return wanted

    def _finish(self, result: UnitResult, started: float) -> None:
        published = result.offered.published if isinstance(result.offered, Offer) else None
        result.behind_since = lag.since(result.after, result.offered, published, self.known.get(result.unit))
        result.seconds = time.monotonic() - started
        if not result.nothing:
            self.report.unit_finished(result.as_dict())

    def _judge(self, result: UnitResult) -> Versions | None:
        """The versions to fetch; None where what is published stays. Sets the outcome that holds without a download."""
        unit = result.unit
        if unit in self.broken:
            result.before = result.after = self.store.served_versions(unit)
            raise self.broken[unit]
        damaged = self._look_at_what_is_there(result)
        held = self.store.channel(unit).hold
        if held and not damaged:
            result.outcome = "held"
        if unit in self.promoted:
            self._left_to_promotion(result, damaged)
            return None
        if held and not damaged:
            result.offered = self._glance(result)
            return None
        with self.source.client() as client:
            try:
                offered = result.offered = self.source.versions(client, unit, self._notice(result))
            except MirrorError as error:
                if error.code != "not_offered" or unit.channel in RINGS:
                    raise
                # An extra channel that the other mirror does not have is looked at once more, with the promoted ones.
                self.promoted.append(unit)
                result.nothing = True
                return None
            same = result.before is not None and offered.same_as(result.before)
            if same and result.outcome == "adopted":
                damaged = result.mislabelled = self._adopted_another(client, result)
            elif same and not damaged:
                damaged = self._serves_another(result, offered)
        if same and not damaged:
            return None
        if held and not same:
            raise _lost(
                f"{unit} is held at {result.before}, whose package was damaged or deleted; the source has moved on to "
                f"{offered}"
            )
        self._refuse_downgrade(result, offered)
        result.outcome, result.after = "repaired" if same else "updated", offered
        return offered

    def _glance(self, result: UnitResult) -> Versions | None:
        """What the source offers for a unit that stays as it is: asked once, and no answer is no failure."""

        def give_up(error: MirrorError, _pause: float) -> None:
            raise error

        try:
            with self.source.client() as client:
                return self.source.versions(client, result.unit, give_up)
        except Cancelled:
            raise
        except MirrorError as error:
            result.notes.append(f"what the source offers is not known: {error.message}")
            return None

    def _left_to_promotion(self, result: UnitResult, damaged: bool) -> None:
        result.nothing = result.before is None
        if damaged:
            raise _lost(f"{result.unit} serves {result.before}, whose package was damaged or deleted")
        if self.settings.source.type != "mirror" or result.nothing:
            return
        name = self.source.name
        if not self.store.channel(result.unit).own:
            result.notes.append(f"{name} serves no channel of that name, so it waits for a promotion")
            return
        with contextlib.suppress(MirrorError), self.source.client() as client:
            self.source.versions(client, result.unit)
            result.notes.append(
                f"{name} offers a channel of that name too; a promotion fed this one, so it is this mirror's own and "
                "does not follow it"
            )

    def _serves_another(self, result: UnitResult, offered: Versions) -> bool:
        """True when the other mirror has another package under the versions that are served here."""
        release = self.store.current(result.unit)
        if not isinstance(offered, Offer) or release is None or release.sha256 == offered.sha256:
            return False
        result.notes.append(f"{self.source.name} serves another package under the same versions")
        return True

    def _adopted_another(self, client: Any, result: UnitResult) -> bool:
        """True when an adopted package is surely not the one that its manifest names.

        Microsoft's script fetches the package first and asks for its versions afterwards; a release that lands in
        between leaves an old package under new versions. The size of what the source offers under these versions tells.
        """
        release = self.store.current(result.unit)
        size = self.source.size(client, result.unit)
        if release is None or size is None or size == release.size:
            return False
        result.notes.append(f"the adopted package has {release.size} bytes; for its versions the source has {size}")
        return True

    def _look_at_what_is_there(self, result: UnitResult) -> bool:
        """Adopts and mends what can be without the source. True when only a download can mend what is published."""
        unit, store = result.unit, self.store
        folder = store.root / unit.path
        # In place of a channel that is known already, a folder is a stranger's: the link takes its place again.
        new = store.channel(unit).current is None
        if new and folder.is_dir() and not folder.is_symlink() and self._adopt(result):
            result.outcome, result.after = "adopted", result.before
            if self.check:
                return False
        else:
            result.before = store.served_versions(unit)
        result.after = result.before
        self._look_at_previous(unit)
        current = store.current(unit)
        if current is None:
            return result.before is not None
        mend = store.needs_mending(current)
        if not store.intact(current, mend=not self.check):
            result.notes.append("the published package was damaged")
            return True
        if mend or unit in self.astray:
            result.outcome = "repaired"
        return False

    def _adopt(self, result: UnitResult) -> bool:
        """Takes over what Microsoft's script left. In check mode its manifest alone is believed."""
        if self.check:
            result.before = left_by_script(self.store, result.unit)
        else:
            adopted, problems = adopt(self.store, result.unit, self.settings.proof, self.cancel)
            result.notes += [problem.message for problem in problems]
            result.before = adopted.versions if adopted else None
        return result.before is not None

    def _look_at_previous(self, unit: Unit) -> None:
        name = self.store.channel(unit).previous
        if not name or self.check:
            return
        previous = self.store.previous(unit)
        if previous is None or not self.store.intact(previous):
            self.store.drop_previous(unit)
            self.errors.append(
                MirrorError(
                    "back_damaged",
                    f"the previous release of {unit} ({name}) was damaged or deleted, so it was taken out of sight",
                    "The source has newer releases only, so it cannot be mended; the next release brings a new n-1. "
                    f"Find out who or what writes to {self.store.root}.",
                )
            )

    def _refuse_downgrade(self, result: UnitResult, offered: Versions) -> None:
        if not (result.before and offered.lower_than(result.before)) or self.allow_downgrade:
            return
        if isinstance(offered, Offer):
            raise self._behind_us(result.unit, offered, result.before)
        raise MirrorError(
            "downgrade",
            f"the source offers {offered} for {result.unit}, lower than the published {result.before}",
            "If Microsoft really took a release back, sync once with --allow-downgrade (module: allow_downgrade). "
            "Otherwise look for a cache on the way that serves old files.",
        )

    def _behind_us(self, unit: Unit, offered: Offer, served: Versions) -> MirrorError:
        """The other mirror went back. This one does so only when it is told, and this is how."""
        hint = "To take what that mirror serves, run `mde-mirror sync --allow-downgrade` (module: allow_downgrade)."
        name = release_name(offered.definitions, offered.engine, offered.sha256)
        if name in self.store.kept(unit):
            hint = (
                f"To go back here too, run `mde-mirror rollback {unit.channel} --to {name} --platform {unit.platform} "
                f"--arch {unit.arch}`, which holds it until `mde-mirror release {unit.channel}`; or take all that that "
                "mirror serves with `mde-mirror sync --allow-downgrade` (module: allow_downgrade)."
            )
        return MirrorError(
            "downgrade",
            f"the mirror {self.source.name} went back to {offered} for {unit}, lower than the published {served}: "
            f"{offered.standing()}",
            hint,
        )

    def _fetch(self, result: UnitResult, offered: Versions) -> None:
        started = time.monotonic()
        unit = result.unit
        with self._outcome_of(result), self._alone_with(unit, offered):
            download = Download(
                self.store, unit.slug, self.settings.proof, self.line, self.cancel, self._progress(unit)
            )
            release = self._there_already(unit, offered) or self._download(result, offered, download)
            moved = result.before is None or not release.versions.same_as(result.before)
            self.store.publish(unit, release, "sync" if moved else "repair", disown=result.mislabelled)
            download.discard()
            result.outcome, result.after = "updated" if moved else "repaired", release.versions
        self._finish(result, started)

    @contextlib.contextmanager
    def _alone_with(self, unit: Unit, offered: Versions) -> Iterator[None]:
        """Keeps others from fetching the same package meanwhile, where the source says which package it is."""
        if not isinstance(offered, Offer):
            yield
            return
        with self.fetching_lock:
            lock = self.fetching.setdefault(f"{unit.shelf}/{offered.sha256}", threading.Lock())
        with lock:
            yield

    def _there_already(self, unit: Unit, offered: Versions) -> Release | None:
        """The very package that is offered, where another channel or an earlier run brought it."""
        if not isinstance(offered, Offer):
            return None
        release = self.store.release(unit, release_name(offered.definitions, offered.engine, offered.sha256))
        if release is None or release.sha256 != offered.sha256 or not self.store.intact(release):
            return None
        return release

    def _download(self, result: UnitResult, offered: Versions, download: Download) -> Release:
        unit = result.unit
        self.report.unit_started(str(unit), str(offered))
        try:
            with self.source.client() as client:
                downloaded, versions = self.source.fetch(client, unit, offered, download, self._notice(result))
        finally:
            result.bytes = download.received
        self._refuse_downgrade(result, versions)
        release = Release(
            unit.shelf,
            versions.definitions,
            versions.engine,
            versions.date,
            downloaded.sha256,
            downloaded.bytes,
            now_iso(),
            self.source.name,
        )
        return self.store.keep(unit, downloaded.path, release)

    @contextlib.contextmanager
    def _outcome_of(self, result: UnitResult) -> Iterator[None]:
        """One failing unit must not stop the others: what goes wrong inside is this unit's outcome."""
        try:
            yield
        except MirrorError as error:
            result.outcome, result.error, result.after = "failed", error, result.before
        except Exception as error:
            self.report.bug(error)
            result.outcome, result.after = "failed", result.before
            result.error = MirrorError(
                "internal",
                f"a fault of mde-mirror itself: {type(error).__name__}: {error}",
                "Please report it with the output of a run with MDE_MIRROR_DEBUG=1. What is published was not touched.",
            )

    def _notice(self, result: UnitResult) -> Notice:
        def notice(error: MirrorError, pause: float) -> None:
            result.notes.append(error.message)
            self.report.retrying(str(result.unit), error.message, pause)

        return notice

    def _progress(self, unit: Unit) -> Progress:
        name = str(unit)

        def progress(size: int, total: int | None) -> None:
            self.report.progress(name, size, total)

        return progress


def _lost(what: str) -> MirrorError:
    return MirrorError(
        "damaged",
        what,
        "Promote to it, roll it back, or release it, whichever brings a release that is whole.",
    )


def _pool(wanted: int, most: int) -> concurrent.futures.ThreadPoolExecutor:
    return concurrent.futures.ThreadPoolExecutor(max_workers=max(1, min(wanted, most)))
