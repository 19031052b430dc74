"""Simulates Microsoft's definition download service for tests, the demo and molecule; see docs/simulators.md.

Tests use the class `DownloadService`; `python3 simulators/download_service --help` runs the same as a program.
Only the standard library is needed.
"""

from .faults import CONTENT_FAULTS, fault_names
from .packages import ARCHITECTURES, PLATFORMS, Unit, build_package, package_versions
from .service import DownloadService, representation
from .wire import Body, Content, Response

__all__ = [
    "ARCHITECTURES",
    "CONTENT_FAULTS",
    "PLATFORMS",
    "Body",
    "Content",
    "DownloadService",
    "Response",
    "Unit",
    "build_package",
    "fault_names",
    "package_versions",
    "representation",
]
