"""Reads which versions a mirror publishes, as an endpoint does. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import json

from ansible_collections.mde.offline.plugins.module_utils._endpoint import versions
from ansible_collections.mde.offline.plugins.module_utils._endpoint.errors import FindingError
from ansible_collections.mde.offline.plugins.module_utils._endpoint.masking import quoted
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror import address as addresses
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror import http
from ansible_collections.mde.offline.plugins.module_utils._endpoint.text import decode


def read(location, arch, timeout=10):
    """The versions that the mirror at an address or in a folder publishes; raises FindingError."""
    address = addresses.lenient(location)
    if address.kind in addresses.PORTS and address.problem:
        raise FindingError("mirror_unreachable", "{0} cannot be fetched: {1}.".format(address.shown, address.problem))
    return read_channel(address, address.path, arch, timeout)


def read_channel(address, folder, arch, timeout):
    """The versions in a folder of the mirror; raises FindingError."""
    path = addresses.below(folder, arch, "manifest.json")
    shown = address.shown_at(path)
    linked = False
    if address.kind == addresses.FOLDER:
        data, linked = _read_file(path, timeout)
    elif address.kind in addresses.PORTS:
        data = _fetch(address, path, shown, timeout)
    else:
        raise FindingError(
            "mirror_answer_unusable", "{0} is neither an http(s) address nor an absolute path.".format(shown)
        )
    return dict(_versions(data, shown, linked), location=address.shown, arch=arch)


def _fetch(address, path, shown, timeout):
    """The bytes of a small file. No proxy is used, since mirrors are reached directly."""
    try:
        answer = http.fetch(address, path, "GET", timeout)
    except http.Unreachable as failure:
        raise FindingError("mirror_unreachable", "{0} cannot be fetched: {1}.".format(shown, failure.message))
    status = answer["status"]
    if 300 <= status < 400:
        raise FindingError("mirror_redirects", http.redirect_message(shown, answer), status)
    if not 200 <= status < 300:
        raise FindingError("mirror_answer_unusable", "{0} answered with status {1}.".format(shown, status), status)
    return answer["body"]


def _read_file(path, timeout):
    """The bytes of a small file, and whether a link led to it."""
    # Imported late, because most mirrors are web servers.
    from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror import folder as folders

    try:
        found = folders.read(path, http.MAX_BYTES + 1, timeout)
    except folders.Unreadable as reason:
        raise FindingError("mirror_unreachable", "{0} cannot be read: {1}.".format(path, reason.message))
    return found.data, found.linked


def _versions(data, shown, linked=False):
    text = decode(data).lstrip("\ufeff").strip()
    # A link may lead to a file that is not part of the mirror.
    start = "" if linked else "; it starts: {0}".format(quoted(text) or "(empty)")
    if len(data) > http.MAX_BYTES:
        raise FindingError("mirror_answer_unusable", "{0} is too large for a manifest{1}".format(shown, start))
    try:
        manifest = json.loads(text)
    except (ValueError, RuntimeError):
        kind = "an HTML page" if text.lower().startswith(("<!doctype", "<html")) else "not JSON"
        raise FindingError("mirror_answer_unusable", "{0} is {1}{2}".format(shown, kind, start))
    found = manifest if isinstance(manifest, dict) else {}
    definitions, engine = found.get("DefinitionVersion"), found.get("EngineVersion")
    if not versions.is_version(definitions) or not versions.is_version(engine):
        raise FindingError(
            "mirror_answer_unusable", "{0} has no valid DefinitionVersion and EngineVersion{1}".format(shown, start)
        )
    return {"definitions_version": definitions, "engine_version": engine}
