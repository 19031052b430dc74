"""The only way to write to a mirror: briefly, as its owner, under its lock, after its state was recovered."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, TypeVar

from .errors import MirrorError
from .files import advising, json_bytes, make_directory, remove_tree, replace, unique
from .integrity import Integrity
from .lock import locked
from .privileges import acting_as_owner
from .public_status import is_current, public
from .records import Channel, Release
from .settings import Settings
from .state import State, UnreadRelease
from .status import status
from .store import Store
from .times import hours_after
from .trust import FILE as TRUST
from .trust import Trust
from .units import Unit
from .workspace import SESSION, prepare

# Sessions are short: if the lock is not free after this time, something is wrong.
PATIENCE_SECONDS = 10.0
# A signed status is signed anew at each write, and by the watch.
STATUS_VALID_HOURS = 48

T = TypeVar("T")


class Mirror:
    """One mirror on disk: its releases and what is known about them, shared by all sessions of a run."""

    def __init__(self, settings: Settings) -> None:
        self.root = settings.root
        self.retain = settings.retain
        self.signing_key = settings.signing_key
        self.store = Store(settings.root, settings.keep_previous)
        self.integrity = Integrity(self.store)
        self.turn = threading.Lock()

    def state(self) -> State:
        """What the mirror serves now. No lock is taken."""
        return State(self.store, self.integrity)

    def change(self, work: Callable[[MirrorSession], T]) -> T:
        """Runs `work`, which decides and writes in one session, and returns its result.

        Packages are read outside of the session. If `work` needs to know whether a package is whole and that is not
        known, the package is read and `work` is called again. Therefore `work` must decide everything before it writes.
        """
        while True:
            try:
                with MirrorSession(self) as session:
                    return work(session)
            except UnreadRelease as unread:
                self.state().is_whole(unread.unit, unread.name)


class MirrorSession:
    """A mirror that is open for writing.

    Entering completes what a killed run left incomplete: links that do not agree with `channels.json`, and a
    `status.json` that is not current. Leaving saves what is known about the releases, and the status.
    """

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._store, self._integrity = mirror.store, mirror.integrity
        self._cleanup = contextlib.ExitStack()
        self._status_saved = False
        self._folder = mirror.root / ".incoming" / SESSION
        # One level deeper, because the path of a new link must not look like that of a channel (`*/*/arch_*`).
        self._staging = self._folder / "new"
        # Units whose links could not be repaired, and why.
        self.broken: dict[Unit, MirrorError] = {}

    def __enter__(self) -> MirrorSession:
        with contextlib.ExitStack() as opening:
            opening.enter_context(self._mirror.turn)
            opening.enter_context(acting_as_owner(self._mirror.root))
            prepare(self._mirror.root)
            self._look_up_releases()
            opening.enter_context(locked(self._mirror.root / ".state" / "lock", PATIENCE_SECONDS))
            with advising("preparing", self._staging):
                remove_tree(self._folder)
                make_directory(self._staging)
            opening.callback(self._remove_staging)
            self.state = State(self._store, self._integrity, under_lock=True)
            self._recover()
            self._cleanup = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._cleanup:
            if kind is None:
                self._save()

    def _look_up_releases(self) -> None:
        """Reads the metadata of what is served, and packages whose metadata was damaged, before the lock is taken."""
        state = self._mirror.state()
        for unit in state.units():
            state.current(unit)
            state.previous(unit)

    def _recover(self) -> None:
        if self.state.rebuilt:
            self.state.save_channels(self._staging)
        for unit in self.state.units():
            try:
                self._store.link(unit, self.state.channel(unit), self._staging)
            except MirrorError as error:
                self.broken[unit] = error
        if is_current(self.state, self._mirror.root):
            self._status_saved = True
        else:
            self._try_to_save_status()

    def _remove_staging(self) -> None:
        with contextlib.suppress(OSError):
            remove_tree(self._folder)

    # --- writing ------------------------------------------------------------------------------------------------

    def set_channel(self, unit: Unit, channel: Channel) -> None:
        """Makes a unit serve what the channel says: first the state, then the links, then the status."""
        release = self.state.release(unit, channel.current)
        if release:
            self.state.remember(unit, release, self._staging)
        self.state.channels[unit] = channel
        self.state.save_channels(self._staging)
        self._publish_links(unit)
        self._try_to_save_status()

    def _publish_links(self, unit: Unit) -> None:
        self._store.link(unit, self.state.channel(unit), self._staging)

    def add(self, prepared: Path, release: Release) -> Release:
        """Stores a verified release; see `Workspace.prepared`."""
        stored = self._store.add(prepared, release, self._staging)
        self._integrity.verified(stored)
        return stored

    def remove_folder(self, folder: Path) -> None:
        """Removes a folder of the served tree. It is moved away first, so that clients never see half of it."""
        with advising("removing", folder):
            doomed = self._staging / unique("broken")
            folder.rename(doomed)
            remove_tree(doomed)

    def repair(self, release: Release) -> None:
        """Writes the files beside a package again. The package itself must be known to be whole."""
        self._store.write_small_files(release, self._staging)
        self._integrity.verified(release)

    def prune(self) -> list[str]:
        """Removes all but the last releases of each channel. A release that a channel or link uses is never removed.

        Only a sync or an import may prune, because anything else could remove releases that a running sync has stored
        but not published yet.
        """
        wanted = set(self._store.linked())
        for unit, channel in self.state.channels.items():
            recent = list(dict.fromkeys(entry["release"] for entry in reversed(channel.history)))
            wanted.update(
                (unit.pool, name)
                for name in (channel.current, channel.previous, *recent[: self._mirror.retain])
                if name
            )
        removed = []
        for folder in self._store.stored():
            if (folder.parent.name, folder.name) not in wanted:
                self._store.remove(folder, self._staging)
                removed.append(f"{folder.parent.name}/{folder.name}")
        return removed

    def record(self, **fields: Any) -> None:
        """Keeps fields of the last sync or import."""
        self.state.save("last-sync.json", {**self.state.last_sync(), **fields}, self._staging)
        self._status_saved = False

    def sign(self) -> None:
        """Writes the status anew, so that its signature is valid for the full time again."""
        self._status_saved = False

    def trust(self, change: Callable[[Trust], Trust]) -> None:
        """Remembers what a signed document says of the mirror that signed it."""
        before = self.state.trust()
        after = change(before)
        if after != before:
            self.state.save(TRUST, after.as_dict(), self._staging)

    def _save(self) -> None:
        seen = self._integrity.changed_seen()
        if seen is not None:
            self.state.save("seen.json", seen, self._staging)
        if not self._status_saved:
            self._save_status()

    def _try_to_save_status(self) -> None:
        """Saves the status. A failure must not look like a failed change: `__exit__` tries again and reports it."""
        self._status_saved = False
        with contextlib.suppress(MirrorError):
            self._save_status()

    def _save_status(self) -> None:
        path = self._mirror.root / "status.json"
        found = public(status(self.state, self._mirror.root), self.state.next_identity(self._staging))
        if self._mirror.signing_key:
            from .signing import signed

            expires = hours_after(found["generated"], STATUS_VALID_HOURS)
            found = signed({**found, "expires": expires}, Path(self._mirror.signing_key))
        with advising("writing", path):
            replace(path, json_bytes(found), self._staging)
        self._status_saved = True
