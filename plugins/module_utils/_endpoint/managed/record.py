"""Records which settings were written to a managed file, so that they can be taken back. Private to the collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

from collections import OrderedDict

from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed import files, merge, strict_json

FORMAT = 1
MODE = 0o600


class Record:
    """The record of the settings of one managed file. A record may contain several files, each under its path.

    `settings` are the recorded ones, None if there is no record of the file. `note` says why a record is ignored, or
    why none can be written (None: nothing is wrong).
    """

    def __init__(self, module, path, managed_file):
        self._module = module
        self._path = path
        self._managed_file = managed_file
        self.note = None
        self.writable = True
        try:
            with files.Target(module, path, follow=False) as target:
                self.settings = self._mine(self._read(target))
                self.writable = target.is_writable()
                if not self.writable:
                    self.note = (
                        "%s cannot be written, so the settings that the task wrote are not recorded." % target.shown
                    )
        except files.FileProblem as problem:
            self.settings, self.writable = None, False
            self.note = "The settings that the task wrote cannot be recorded. %s" % problem

    def _read(self, target):
        """The content of the record. It is empty, with a note, unless only root can have written the record."""
        reason = None
        found = {}
        try:
            data = target.read()
            others = target.writers
            if others:
                path, who = others[0]
                reason = "users other than root can write %s: %s" % (files.shown(path), ", ".join(who))
            elif data is not None:
                found = strict_json.loads(strict_json.decode(data))
                if found.get("format") != FORMAT or not isinstance(found.get("files"), dict):
                    reason = "it does not have the format of this version"
        except files.FileProblem:
            reason = "it is not a regular file that can be read"
        except strict_json.NotStrictJson as error:
            reason = "it %s" % error.unquoted
        if reason is None:
            return found
        if target.status is not None:
            self.note = "The record %s is ignored: %s." % (target.shown, reason)
        return {}

    def _mine(self, found):
        entry = found.get("files", {}).get(self._managed_file)
        return to_record(entry) if isinstance(entry, dict) else None

    def write(self, settings):
        """Records the settings of the file; None removes the record of the file."""
        # Imported late, because most runs only read the record.
        from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed import writing

        try:
            with writing.Target(self._module, self._path, follow=False) as target:
                if settings is None and target.status is None:
                    return
                target.create_folders()
                target.protect_folders()
                with target.locked():
                    self._replace(writing.Target, settings)
        except files.FileProblem as problem:
            self._module.warn("The settings that the task wrote were not recorded. %s" % problem)

    def _replace(self, target_class, settings):
        # The first target may have seen the file before another process replaced it.
        with target_class(self._module, self._path, follow=False) as target:
            found = self._read(target)
            recorded = found.get("files", {})
            recorded.pop(self._managed_file, None)
            if settings is not None:
                recorded[self._managed_file] = settings
            if recorded:
                content = strict_json.dumps(OrderedDict([("format", FORMAT), ("files", recorded)]))
                target.write_anew(content.encode("utf-8"), MODE)
            elif target.status is not None:
                target.remove()


def to_record(desired):
    """The settings of a desired configuration that can be taken back later.

    The enforcement level is not one of them: an inventory that lost a file must not disable the protection of hosts.
    """
    kept = _without_null(desired)
    engine = kept.get("antivirusEngine")
    if isinstance(engine, dict):
        engine.pop("enforcementLevel", None)
    return kept


def _without_null(value):
    if not isinstance(value, dict):
        return value
    return OrderedDict((name, _without_null(below)) for name, below in value.items() if below is not None)


def unwanted(recorded, desired):
    """The recorded settings that a desired configuration no longer names."""
    left = OrderedDict()
    for name, value in recorded.items():
        if name not in desired:
            left[name] = value
        elif isinstance(value, dict) and isinstance(desired[name], dict):
            below = unwanted(value, desired[name])
            if below:
                left[name] = below
    return left


def taken_back(before, after, named):
    """Path and old value, without secrets, of each of the named settings that `after` no longer has."""
    return [
        {"path": ".".join(path), "value": merge.redact(_value(before, path), path[-1])}
        for path in _paths(named)
        if _has(before, path) and not _has(after or {}, path)
    ]


def _paths(named, above=()):
    found = []
    for name, value in named.items():
        path = above + (name,)
        found += _paths(value, path) if isinstance(value, dict) and value else [path]
    return found


def _has(value, path):
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return False
        value = value[name]
    return True


def _value(value, path):
    for name in path:
        value = value[name]
    return value
