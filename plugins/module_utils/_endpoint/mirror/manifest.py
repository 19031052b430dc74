"""Reads which versions a mirror publishes, as an endpoint does. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import json

from ansible_collections.mde.offline.plugins.module_utils._endpoint import process, versions
from ansible_collections.mde.offline.plugins.module_utils._endpoint.errors import FindingError
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
    if address.kind == addresses.FOLDER:
        data = _read_file(path, timeout)
    elif address.kind in addresses.PORTS:
        data = _fetch(address, path, shown, timeout)
    else:
        raise FindingError(
            "mirror_answer_unusable", "{0} is neither an http(s) address nor an absolute path.".format(shown)
        )
    return dict(_versions(data, shown), location=address.shown, arch=arch)


def _fetch(address, path, shown, timeout):
    """The bytes of a small file. No proxy is used, since mirrors are reached directly."""
    try:
        answer = http.get(address, path, timeout)
    except http.Unreachable as failure:
        raise FindingError("mirror_unreachable", "{0} cannot be fetched: {1}.".format(shown, failure.message))
    if not 200 <= answer["status"] < 300:
        status = answer["status"]
        raise FindingError("mirror_answer_unusable", "{0} answered with status {1}.".format(shown, status), status)
    return answer["body"]


def _read_file(path, timeout):
    """The bytes of a small file, read by another process: a share that hangs would block this one."""
    result = process.run(["head", "-c", str(http.MAX_BYTES + 1), path], timeout)
    if result["timed_out"]:
        raise FindingError("mirror_unreachable", "{0} could not be read within {1} seconds.".format(path, timeout))
    if result["rc"] != 0:
        raise FindingError("mirror_unreachable", "{0} cannot be read: {1}".format(path, result["err"].strip()))
    return result["out"]


def _versions(data, shown):
    text = decode(data).lstrip("\ufeff").strip()
    start = " ".join(text[:120].split())
    if len(data) > http.MAX_BYTES:
        raise FindingError(
            "mirror_answer_unusable", "{0} is far too long for a manifest; it starts: {1}".format(shown, start)
        )
    try:
        manifest = json.loads(text)
    except (ValueError, RuntimeError):
        kind = "an HTML page" if text.lower().startswith(("<!doctype", "<html")) else "not JSON"
        raise FindingError(
            "mirror_answer_unusable", "{0} is {1}; it starts: {2}".format(shown, kind, start or "(empty)")
        )
    found = manifest if isinstance(manifest, dict) else {}
    definitions, engine = found.get("DefinitionVersion"), found.get("EngineVersion")
    if not versions.is_version(definitions) or not versions.is_version(engine):
        raise FindingError(
            "mirror_answer_unusable",
            "{0} has no valid DefinitionVersion and EngineVersion; it starts: {1}".format(shown, start),
        )
    return {"definitions_version": definitions, "engine_version": engine}
