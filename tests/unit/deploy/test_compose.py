"""docker-compose.yml and deploy/, read as files."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from holdfast.gateway.settings import GatewaySettings
from holdfast.worker.settings import WorkerSettings

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = ROOT / "docker-compose.yml"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"]
    return services


def test_it_is_valid_by_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_are_a_redis_gateways_workers_and_a_proxy(services: dict[str, Any]) -> None:
    assert set(services) == {"redis", "gateway", "worker", "proxy"}


def test_only_the_proxy_is_published_and_only_on_the_loopback_interface(services: dict[str, Any]) -> None:
    assert {name: service["ports"] for name, service in services.items() if "ports" in service} == {
        "proxy": ["127.0.0.1:${HOLDFAST_PORT:-8000}:8000"]
    }


def test_the_proxy_is_a_caddy_that_retries_posts_and_passes_cuts_on(services: dict[str, Any]) -> None:
    assert services["proxy"]["image"] == "${CADDY_IMAGE:-caddy:2.11}"


def test_every_service_can_be_copied_and_comes_back_after_a_crash(services: dict[str, Any]) -> None:
    assert not any("container_name" in service for service in services.values())
    assert {service["restart"] for service in services.values()} == {"unless-stopped"}


@pytest.mark.parametrize(("service", "settings"), [("gateway", GatewaySettings), ("worker", WorkerSettings)])
def test_every_setting_of_a_process_is_passed_through(
    services: dict[str, Any], service: str, settings: type[GatewaySettings | WorkerSettings]
) -> None:
    wanted = {f"HOLDFAST_{name}".upper() for name in settings.model_fields}
    given = {name for name in services[service]["environment"] if name.startswith("HOLDFAST_")}
    assert given == wanted


def test_no_setting_gets_a_value_here_but_for_addresses(services: dict[str, Any]) -> None:
    given = {name: value for service in services.values() for name, value in service.get("environment", {}).items()}
    assert {name: value for name, value in given.items() if value is not None} == {
        "HOLDFAST_REDIS_URL": "${HOLDFAST_REDIS_URL:-redis://redis:6379/0}",
        "HOLDFAST_HOST": "0.0.0.0",
        "HOLDFAST_PORT": "8000",
        "HOLDFAST_ALLOWED_HOSTS": "${HOLDFAST_ALLOWED_HOSTS:-gateway,proxy}",
        "XDG_CONFIG_HOME": "/tmp",
        "XDG_DATA_HOME": "/tmp",
    }


def test_the_worker_gets_what_the_provider_sdks_read(services: dict[str, Any]) -> None:
    names = {"OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"}
    assert names <= set(services["worker"]["environment"])
    assert not names & set(services["gateway"]["environment"])


def test_a_process_has_longer_to_stop_than_it_takes_by_default(services: dict[str, Any]) -> None:
    assert services["gateway"]["stop_grace_period"] == services["worker"]["stop_grace_period"] == "1m"
    assert GatewaySettings.model_fields["gateway_grace_seconds"].default < 60
    assert WorkerSettings.model_fields["grace_seconds"].default + 5 < 60


def test_gateway_and_worker_run_without_privileges_on_a_file_system_that_they_cannot_change(
    services: dict[str, Any],
) -> None:
    for name in ("gateway", "worker"):
        assert services[name]["read_only"]
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["security_opt"] == ["no-new-privileges:true"]


def test_the_image_runs_as_a_user_that_is_not_root_and_installs_only_what_is_locked() -> None:
    text = (ROOT / "deploy/Dockerfile").read_text("utf-8")
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == ["10001:10001"]
    installs = re.findall(r"pip install (.+)$", text, re.MULTILINE)
    assert [install.split()[0] for install in installs] == ["--require-hashes", "--no-deps"]


def test_the_build_sees_all_that_it_copies_and_nothing_else() -> None:
    text = (ROOT / "deploy/Dockerfile").read_text("utf-8")
    copied = {
        source for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE) for source in line.split()[:-1]
    }
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    seen = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert "*" in ignored
    assert seen == copied
    assert all((ROOT / source).exists() for source in copied)


@pytest.mark.parametrize(
    "line",
    [
        "appendonly yes",
        "appendfsync everysec",
        "aof-load-truncated yes",
        "maxmemory-policy noeviction",
        "timeout 0",
        "tcp-keepalive 60",
    ],
)
def test_redis_is_set_to_keep_what_it_was_given(line: str) -> None:
    assert line in (ROOT / "deploy/redis.conf").read_text("utf-8").splitlines()


@pytest.mark.parametrize("name", ["docker-compose.yml", "deploy/Caddyfile", "deploy/redis.conf"])
def test_what_a_service_mounts_is_there(name: str) -> None:
    assert (ROOT / name).is_file()
