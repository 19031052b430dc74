"""Replaces and protects a file, and keeps its attributes. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

# This code is not in files.py, because an unchanged host does not need it.

import fcntl
import os
import stat
import time
from binascii import hexlify
from contextlib import contextmanager

from ansible.module_utils.common.text.converters import to_bytes, to_text
from ansible_collections.mde.offline.plugins.module_utils._endpoint import xattrs
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed import files
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed.files import FileProblem, native
from ansible_collections.mde.offline.plugins.module_utils._endpoint.path_resolution import O_CLOEXEC, inside, readable

NEW_FILE_MODE = 0o644
NEW_FOLDER_MODE = 0o755


class Target(files.Target):
    """A file that can be written, through the file descriptors through which it was read."""

    def protect_folders(self):
        """Lets only root write the folders above the file, except those that may have to belong to other users.

        The folder of the file and those of the agent are given to root. Of the folders further above, only root's are
        changed, because others may need theirs.
        """
        for folder, after in self._repairs():
            try:
                handle = readable(folder)
                try:
                    _change(handle, *after)
                    folder.status = os.fstat(handle)
                finally:
                    os.close(handle)
            except EnvironmentError as error:
                raise files.problem("protect", folder.path, error)

    def change(self, wanted):
        """Changes owner, group and permissions of the file that was read."""
        try:
            _change(self._old, *self._attributes(wanted)[1])
        except EnvironmentError as error:
            raise files.problem("change", self.path, error)

    def replace(self, data, wanted):
        """Replaces the file atomically: a reader sees the old content or the new one, never a part.

        The new file has the attributes of the old one, with the changes of `wanted`.
        """
        resolved, staged = self._resolved, None
        try:
            self._create_folders()
            staged = b".mde-offline-" + _unforeseeable()
            handle = self._create(staged, data, wanted)
            try:
                with inside(resolved.folder):
                    os.rename(staged, resolved.name)
                    staged = None
                    if not os.path.samestat(os.lstat(resolved.name), os.fstat(handle)):
                        raise FileProblem(
                            "%s was replaced by another process during the write. Find out which, then run the task "
                            "again." % self.shown
                        )
            finally:
                os.close(handle)
            self._sync()
        except EnvironmentError as error:
            raise files.problem("write", self.path, error)
        finally:
            self._discard(staged)

    def write_anew(self, data, mode):
        """Replaces the file as `replace` does, but keeps no attributes of the old file."""
        if self._old is not None:
            os.close(self._old)
            self._old = None
        self.replace(data, files.Attributes(self._module, mode=mode))

    def backup(self, data):
        """Saves the content that was read to a backup file in the same folder; returns the path of the backup file."""
        moment = to_bytes(time.strftime(str("%Y-%m-%d@%H:%M:%S")))
        name = b"%s.%s.%s~" % (self._resolved.name, moment, _unforeseeable()[:16])
        try:
            os.close(self._create(name, data, files.Attributes(self._module)))
        except EnvironmentError as error:
            self._discard(name)
            raise files.problem("write", os.path.join(self._resolved.folder.path, name), error)
        return os.path.join(self._resolved.folder.path, name)

    def remove(self):
        """Removes the file."""
        try:
            with inside(self._resolved.folder):
                os.unlink(self._resolved.name)
        except EnvironmentError as error:
            raise files.problem("remove", self.path, error)

    def create_folders(self):
        """Creates the missing folders above the file."""
        try:
            self._create_folders()
        except EnvironmentError as error:
            raise files.problem("create", self._resolved.path, error)

    @contextmanager
    def locked(self):
        """Excludes other processes that use this method with the same folder."""
        try:
            handle = readable(self._resolved.folder)
        except EnvironmentError as error:
            raise files.problem("lock", self._resolved.folder.path, error)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _create_folders(self):
        while self._resolved.missing:
            handle = self._resolved.create_folder(NEW_FOLDER_MODE)
            try:
                self._set_default_context(handle, self._resolved.folder.path)
            finally:
                os.close(handle)

    def _create(self, name, data, wanted):
        """Writes a new file with the attributes of the old one, and returns its file descriptor."""
        with inside(self._resolved.folder):
            handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | O_CLOEXEC, 0o600)
        try:
            left = data
            while left:
                left = left[os.write(handle, left) :]
            if self._old is None:
                self._set_default_context(handle, self.path)
                default = (stat.S_IFREG | NEW_FILE_MODE,) + tuple(os.fstat(handle))[1:10]
                _change(handle, *wanted.of(os.stat_result(default)))
            else:
                _copy_attributes(self._old, handle, self._attributes(wanted)[1], self.shown)
            os.fsync(handle)
        except BaseException:
            os.close(handle)
            self._discard(name)
            raise
        return handle

    def _set_default_context(self, handle, path):
        if self._module.selinux_enabled():
            context = [part for part in self._module.selinux_default_context(native(path)) if part]
            if context:
                xattrs.write(handle, xattrs.SELINUX, to_bytes(":".join(context)) + b"\0")

    def _sync(self):
        """Writes the folder to disk, so that a power failure cannot undo a rename."""
        try:
            handle = readable(self._resolved.folder)
        except EnvironmentError:
            return  # The user may write the folder, but not read it.
        try:
            os.fsync(handle)
        except EnvironmentError:
            pass  # Some network file systems do not support fsync of a folder.
        finally:
            os.close(handle)

    def _discard(self, name):
        if name is not None:
            try:
                with inside(self._resolved.folder):
                    os.unlink(name)
            except EnvironmentError:
                pass  # Report the first error, not this one.


def _change(handle, uid, gid, mode=None):
    """Changes the attributes that differ, in this order, because the kernel removes bits when the owner changes."""
    if files.numbers(os.fstat(handle))[:2] != (uid, gid):
        os.fchown(handle, uid, gid)
    if mode is not None and files.numbers(os.fstat(handle))[2] != mode:
        os.fchmod(handle, mode)


def _copy_attributes(old, new, wanted, path):
    """Gives a new file the attributes of the old one, and the wanted owner, group and permissions."""
    uid, gid, mode = wanted
    name = None
    try:
        _change(new, uid, gid)
        names = xattrs.names(old)
        if xattrs.ACL not in names and xattrs.ACL in xattrs.names(new):
            xattrs.remove(new, xattrs.ACL)  # The default ACL of the folder created it.
        for name in names:
            content = None if name in xattrs.OF_THE_KERNEL else xattrs.value(old, name)
            if content is not None and xattrs.value(new, name) != content:
                xattrs.write(new, name, content)
        name = None
        _change(new, uid, gid, mode)
    except EnvironmentError as error:
        what = "the owner, the group or the permissions" if name is None else "the attribute %s" % to_text(name)
        raise FileProblem(
            "%s was not written, because %s of the old file cannot be copied to the new one: %s. %s"
            % (path, what, to_text(error.strerror), files.ADVICE.get(error.errno, "Remove the attribute, or allow it."))
        )


def _unforeseeable():
    return hexlify(os.urandom(16))
