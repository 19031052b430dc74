"""Runs the simulated download service as a program: `python3 simulators/download_service`."""

import importlib
import sys
from pathlib import Path

# Python puts this folder on sys.path. The package is found from the folder above it.
sys.path[0] = str(Path(__file__).resolve().parent.parent)
sys.exit(importlib.import_module("download_service.cli").main())
