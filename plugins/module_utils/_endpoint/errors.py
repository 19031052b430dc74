"""The error that names a finding. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

from ansible_collections.mde.offline.plugins.module_utils._endpoint.masking import masked


class FindingError(Exception):
    """A command or a server did not return a usable result.

    `id` is the id of the finding, `message` its message, `status` the status of an HTTP answer, or None.
    """

    def __init__(self, finding_id, message, status=None):
        # The message may quote the output of a command, a response or a file.
        message = masked(message)
        super(FindingError, self).__init__(message)
        self.id = finding_id
        self.message = message
        self.status = status
