"""The example alert rules: promtool accepts them, they fire when they should, and their metrics exist."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from ansible_collections.mde.offline.plugins.module_utils._mirror import metrics

from tools.collection_tree import CHECKOUT

from .promtool import promtool

RULES = CHECKOUT / "docs" / "monitoring" / "mde-mirror.rules.yml"
CASES = Path(__file__).with_name("alerts.yml")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path in (RULES, CASES):
        shutil.copy(path, tmp_path)
    return tmp_path


def check(folder: Path, *words: str) -> None:
    done = subprocess.run([promtool(), *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_rules(folder: Path) -> None:
    check(folder, "check", "rules", RULES.name)


def test_the_rules_fire_when_they_should(folder: Path) -> None:
    check(folder, "test", "rules", CASES.name)


def alerts() -> list[dict]:
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return group["rules"]


def test_every_rule_is_tried_both_ways() -> None:
    tried: dict[str, set[bool]] = {}
    for case in yaml.safe_load(CASES.read_text(encoding="utf-8"))["tests"]:
        for entry in case["alert_rule_test"]:
            tried.setdefault(entry["alertname"], set()).add(bool(entry["exp_alerts"]))
    assert tried == {rule["alert"]: {True, False} for rule in alerts()}


def test_the_metrics_that_the_rules_read_are_written() -> None:
    moment = "2026-11-22T05:00:00Z"
    unit = {"platform": "linux", "channel": "production", "arch": "x86_64"}
    versions = {"definitions_version": "1.449.108.0", "engine_version": "1.1.25110.3002"}
    text = metrics.render(
        {
            "last_sync": {
                "result": "ok",
                "finished": moment,
                "units": [{**unit, "outcome": "updated", "bytes": 1, "seconds": 1.0}],
            },
            "last_success": moment,
            "last_import": moment,
            "current_as_of": moment,
            "channels": [
                {
                    **unit,
                    **versions,
                    "definitions_date": moment,
                    "stored": moment,
                    "published": moment,
                    "behind_since": moment,
                    "behind_seconds": 60,
                    "held": None,
                    "bytes": 1,
                    "max_definitions_age_hours": 72,
                }
            ],
        }
    )
    written = set(re.findall(r"^mde_mirror_\w+", text, re.MULTILINE))
    read = {name for rule in alerts() for name in re.findall(r"\bmde_mirror_\w+", rule["expr"])}
    assert read
    assert read <= written
