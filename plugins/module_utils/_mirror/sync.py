"""One sync: asks for every unit at once, downloads what is new in parallel, publishes each as soon as it is proven."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import concurrent.futures
import contextlib
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Iterator

from .adoption import adopt, left_by_script
from .cancel import Cancel
from .download import Download, Progress
from .errors import MirrorError
from .files import advising, remove_tree
from .lock import locked
from .microsoft import Microsoft
from .owner import acting_as_owner
from .release import Release
from .replica import Replica
from .report import Report, Silent
from .script import Script
from .settings import Settings
from .sources import Notice, Source
from .status import status
from .store import Store
from .times import now_iso
from .transport import Line
from .units import Unit
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

    `outcome`: updated, unchanged, repaired, adopted, held or failed. `mislabelled`: what was adopted proved to be
    another package than its manifest says.
    """

    unit: Unit
    outcome: str = "unchanged"
    before: Versions | None = None
    after: Versions | None = None
    offered: Versions | None = None
    bytes: int = 0
    seconds: float = 0.0
    error: MirrorError | None = None
    notes: list[str] = field(default_factory=list)
    mislabelled: bool = False

    def as_dict(self) -> dict[str, Any]:
        return {
            "platform": self.unit.platform,
            "channel": self.unit.channel,
            "arch": self.unit.arch,
            "outcome": self.outcome,
            "before": self.before.as_dict() if self.before else None,
            "after": self.after.as_dict() if self.after else None,
            "offered": self.offered.as_dict() if self.offered else None,
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
        # What went wrong and belongs to no unit's outcome.
        self.errors: list[MirrorError] = []

    def preview(self) -> SyncResult:
        result = SyncResult(now_iso())
        self.store.load()
        self.astray = {unit for unit in self.store.units() if self.store.astray(unit)}
        result.units = self._work_on_all()
        result.errors = self.errors
        result.finished = now_iso()
        return result

    def perform(self) -> SyncResult:
        result = SyncResult(now_iso())
        self.store.load()
        self.astray = {unit for unit in self.store.units() if self.store.astray(unit)}
        self.store.recover()
        units = self.settings.units()
        self._drop_foreign_downloads(units)
        try:
            result.units = self._work_on_all()
            result.pruned = self.store.prune()
        except MirrorError as error:
            self.errors.append(error)
        result.errors = self.errors
        result.finished = now_iso()
        self._record(result)
        self.report.finished(result.as_dict())
        return result

    def _drop_foreign_downloads(self, units: list[Unit]) -> None:
        """Unfinished downloads of units that are not followed any more only take room."""
        own = {unit.slug + ".download" for unit in units}
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
            self.store.save_last_sync(fields)
            self.store.save_status(status(self.store))
        except MirrorError as error:
            result.errors.append(error)

    # --- the units ------------------------------------------------------------------------------------------------

    def _work_on_all(self) -> list[UnitResult]:
        """First what follows the source, then what is fed by promotion: a repair of the one may mend the other."""
        promoted = [unit for unit in self.settings.promoted_units() if self.store.channel(unit).current]
        return self._work(self.settings.units()) + self._work(promoted)

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
        if wanted is None or self.check:
            result.seconds = time.monotonic() - started
            self.report.unit_finished(result.as_dict())
            return None
        return wanted

    def _judge(self, result: UnitResult) -> Versions | None:
        """The versions to fetch; None where what is published stays. Sets the outcome that holds without a download."""
        unit = result.unit
        damaged = self._look_at_what_is_there(result)
        held = self.store.channel(unit).hold
        if held and not damaged:
            result.outcome = "held"
            return None
        if unit not in self.settings.units():
            if damaged:
                raise _lost(f"{unit} serves {result.before}, whose package was damaged or deleted")
            return None
        with self.source.client() as client:
            offered = result.offered = self.source.versions(client, unit, self._notice(result))
            same = result.before is not None and offered.same_as(result.before)
            if same and result.outcome == "adopted":
                damaged = result.mislabelled = self._adopted_another(client, result)
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
        if folder.is_dir() and not folder.is_symlink() and self._adopt(result):
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
        if result.before and offered.lower_than(result.before) and not self.allow_downgrade:
            raise MirrorError(
                "downgrade",
                f"the source offers {offered} for {result.unit}, lower than the published {result.before}",
                "If Microsoft really took a release back, sync once with --allow-downgrade (module: allow_downgrade). "
                "Otherwise look for a cache on the way that serves old files.",
            )

    def _fetch(self, result: UnitResult, offered: Versions) -> None:
        started = time.monotonic()
        unit = result.unit
        with self._outcome_of(result):
            self.report.unit_started(str(unit), str(offered))
            download = Download(
                self.store, unit.slug, self.settings.proof, self.line, self.cancel, self._progress(unit)
            )
            try:
                with self.source.client() as client:
                    downloaded, versions = self.source.fetch(client, unit, offered, download, self._notice(result))
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
                release = self.store.keep(unit, downloaded.path, release)
                moved = result.before is None or not versions.same_as(result.before)
                self.store.publish(unit, release, "sync" if moved else "repair", disown=result.mislabelled)
                download.discard()
            finally:
                result.bytes = download.received
            result.outcome, result.after = "updated" if moved else "repaired", versions
        result.seconds = time.monotonic() - started
        self.report.unit_finished(result.as_dict())

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
