"""The mirror engine: fetches, proves, stores and publishes packages. Private to the mde.offline collection.

Python >= 3.8, standard library only, and nothing of Ansible: the same code is the `mde-mirror` command.
"""

from __future__ import annotations

VERSION = "0.1.0"
