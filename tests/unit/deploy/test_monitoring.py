"""deploy/monitoring, read as files: Prometheus, rules and dashboard. test_metrics.py compares the names of metrics."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "deploy/monitoring"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool, which comes with Prometheus, is not installed")


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load((FOLDER / "rules.yml").read_text("utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def promtool(*arguments: str) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_promtool_accepts_the_configuration_and_the_rules() -> None:
    promtool("check", "config", "prometheus.yml")


@needs_promtool
def test_alerts_fire_and_stay_silent_as_their_tests_say() -> None:
    promtool("test", "rules", "rules.test.yml")


def test_each_alert_has_a_runbook_entry_and_each_entry_an_alert() -> None:
    entries = re.findall(r"^## (\w+)$", (ROOT / "docs/alerts.md").read_text("utf-8"), re.MULTILINE)
    assert entries == [rule["alert"] for rule in rules()]


def test_each_alert_has_a_test_in_which_it_fires() -> None:
    tests = yaml.safe_load((FOLDER / "rules.test.yml").read_text("utf-8"))["tests"]
    fired = [case["alertname"] for test in tests for case in test["alert_rule_test"] if case.get("exp_alerts")]
    assert sorted(fired) == sorted(rule["alert"] for rule in rules())


def test_each_alert_has_a_severity_and_a_summary() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]


def test_each_panel_of_the_dashboard_has_a_query_and_no_place_is_used_twice() -> None:
    panels = json.loads((FOLDER / "dashboard.json").read_text("utf-8"))["panels"]
    assert all(panel["targets"] and panel["title"] for panel in panels)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)
