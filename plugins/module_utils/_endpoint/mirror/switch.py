"""Decides whether the address of a mirror may be written: make before break. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

from ansible_collections.mde.offline.plugins.module_utils._endpoint.errors import FindingError
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror import address
from ansible_collections.mde.offline.plugins.module_utils._endpoint.text import TEXT

TIMEOUT = 10


def used_address(config):
    """The address from which a managed configuration lets the agent update; None if it does not name a mirror."""
    engine = config.get("antivirusEngine") if isinstance(config, dict) else None
    if not isinstance(engine, dict) or engine.get("offlineDefinitionUpdate") != "enabled":
        return None
    location = engine.get("offlineDefinitionUpdateUrl")
    return location if isinstance(location, TEXT) and location.strip() else None


def new_address(before, after):
    """The address that a change of the configuration makes the agent use; None if that stays the same."""
    former, wanted = used_address(before), used_address(after)
    return None if wanted is None or (former and address.same(former, wanted)) else wanted


def problem(location, former, published=None, timeout=TIMEOUT):
    """The id and message of the finding against writing an address; None if the host gets its package from it.

    `former` is the address that the agent uses now. `published` is what health_report.read_mirror returned for the same
    address, if it was asked.
    """
    from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror import channel, manifest

    arch = address.architecture()
    try:
        if not published:
            manifest.read(location, arch, timeout)
        if not (published or {}).get("package_seen"):
            channel.fetch_package(address.lenient(location), arch, timeout)
    except FindingError as error:
        shown = address.Address(location).shown
        stays = (
            "The host keeps {0}.".format(address.Address(former).shown) if former else "The host has no other address."
        )
        known = _channels(location, arch, timeout) if error.status == 404 else ""
        return (
            error.id,
            "{0} This host does not get its package from {1}, so the address was not written. {2}{3}".format(
                error.message, shown, stays, known
            ),
        )
    return None


def _channels(location, arch, timeout):
    """A sentence with the channels that the mirror has, if its status names any."""
    from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror import channel

    mirror = address.lenient(location)
    known = channel.names(channel.read_status(mirror, timeout), mirror, arch)
    return " The mirror has these channels for {0}: {1}.".format(arch, ", ".join(known[:20])) if known else ""
