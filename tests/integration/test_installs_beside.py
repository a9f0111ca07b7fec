"""Holdfast installs beside the newest versions of other frameworks: none is downgraded because of a bound of ours.

Asks the package index, as the installation of the tests does. Skipped where the index cannot be reached."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.support.process import ROOT

UV = [str(Path(sys.executable).parent / "uv"), "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", re.MULTILINE)
OURS = ("pyproject.toml", "--extra", "openai", "--extra", "anthropic")

# What of ours holds the newest version back; docs/agents.md says what to install instead. redis: arq takes no 6.
# fastapi: its versions that agent-framework takes allow a starlette that our streaming responses do not.
HELD_BACK = {"agent-framework": {"fastapi", "redis"}}
FRAMEWORKS = [
    *HELD_BACK,
    "agent-framework-core",
    "agent-framework-openai",
    "crewai",
    "dspy",
    "google-adk[extensions]",
    "instructor",
    "litellm",
    "llama-index-llms-openai",
    "mcp",
    "smolagents",
    "strands-agents[openai]",
]

Versions = dict[str, Version]


def resolve(requirement: str, *ours: str) -> Versions:
    """Returns nothing where the resolver finds no versions."""
    run = subprocess.run(
        [*UV, "--python-version", "3.11", *ours, "-"],
        input=requirement,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return {} if run.returncode else {name: Version(version) for name, version in PIN.findall(run.stdout)}


def refused(versions: Versions) -> set[str]:
    """The packages that a framework alone gets in a version that a bound of ours refuses."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    ours = map(Requirement, [*project["dependencies"], *extras["openai"], *extras["anthropic"]])
    return {one.name for one in ours if one.name in versions and versions[one.name] not in one.specifier}


def held_back(framework: str, alone: Versions, beside: Versions) -> str | None:
    """Why Holdfast has no place beside the newest version of a framework; None where it has."""
    name = framework.partition("[")[0]
    reasons = refused(alone)
    if HELD_BACK.get(name) == reasons or (name in beside and beside[name] >= alone[name]):
        return None
    return f"{beside.get(name, 'no version')} instead of {alone[name]}; refused: {reasons}"


def test_the_newest_version_of_no_framework_is_held_back() -> None:
    if not resolve("iniconfig"):
        pytest.skip("the package index cannot be reached")
    with ThreadPoolExecutor(8) as threads:
        alone = threads.map(resolve, FRAMEWORKS)
        beside = threads.map(lambda framework: resolve(framework, *OURS), FRAMEWORKS)
        problems = {one: held_back(one, *found) for one, *found in zip(FRAMEWORKS, alone, beside, strict=True)}
    assert {one: problem for one, problem in problems.items() if problem} == {}
