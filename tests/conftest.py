"""Makes this checkout importable as `ansible_collections.mde.offline`, whatever folder it was cloned to."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings

from tools.collection_tree import link_checkout

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts background jobs with SIGINT ignored. Child processes inherit that, and some tests send SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if " " in sys.executable:
    # ansible-core 2.16 cannot use an interpreter with a space in its path, and an alarm command must not have one.
    folder = Path(tempfile.mkdtemp(prefix="mde-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "venv").symlink_to(sys.prefix, target_is_directory=True)
    sys.executable = str(folder / "venv" / Path(sys.executable).relative_to(sys.prefix))
# Tests create files of hosts, which other users must not be able to write.
os.umask(0o022)
os.environ["ANSIBLE_COLLECTIONS_PATH"] = str(link_checkout())
os.environ.setdefault("ANSIBLE_INJECT_FACT_VARS", "false")
# Without this setting, Ansible searches PATH for an interpreter, and may choose a pyenv shim that does not start.
os.environ.setdefault("ANSIBLE_PYTHON_INTERPRETER", sys.executable)
# On a slow machine, property tests may take as long as they need.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
