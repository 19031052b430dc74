"""A unit: one package that a mirror follows, named by platform, channel and architecture."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any, Mapping, NamedTuple

PLATFORMS = ("linux", "mac")
RINGS = ("production", "preview")
ARCHITECTURES = ("x86_64", "arm64")


class Unit(NamedTuple):
    """`path` is the folder below the root that the mirror serves for the unit."""

    platform: str
    channel: str
    arch: str

    @property
    def path(self) -> str:
        return f"{self.platform}/{self.channel}/arch_{self.arch}"

    @property
    def back_path(self) -> str:
        return f"{self.platform}/{self.channel}_back/arch_{self.arch}"

    @property
    def pool(self) -> str:
        """The folder below `.releases` with its releases; the channels of one platform and architecture share it."""
        return f"{self.platform}-{self.arch}"

    @property
    def slug(self) -> str:
        return f"{self.platform}-{self.channel}-{self.arch}"

    def as_dict(self) -> dict[str, str]:
        """The fields by which results and the status name a unit."""
        return {"platform": self.platform, "channel": self.channel, "arch": self.arch}

    def __str__(self) -> str:
        return f"{self.platform}/{self.channel}/{self.arch}"


def unit_name(fields: Mapping[str, Any]) -> str:
    """The name of a unit that is given as fields (`Unit.as_dict`), for messages."""
    return "{platform}/{channel}/{arch}".format(**fields)


def unit_of_path(path: str) -> Unit:
    """The unit of a path such as `linux/production/arch_x86_64`. Raises `ValueError` for other paths."""
    platform, channel, folder = path.split("/")
    if platform not in PLATFORMS or not folder.startswith("arch_") or folder[5:] not in ARCHITECTURES or not channel:
        raise ValueError(path)
    return Unit(platform, channel, folder[5:])
