"""Makes this checkout importable as `ansible_collections.mde.offline`, whatever folder it was cloned to."""

from __future__ import annotations

import os
import sys

from tools.collection_tree import link_checkout

os.environ["ANSIBLE_COLLECTIONS_PATH"] = str(link_checkout())
os.environ.setdefault("ANSIBLE_INJECT_FACT_VARS", "false")
# Ansible would look for an interpreter on PATH by itself, and take a pyenv shim that does not start for one.
os.environ.setdefault("ANSIBLE_PYTHON_INTERPRETER", sys.executable)
