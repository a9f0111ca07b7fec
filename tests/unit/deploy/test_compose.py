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
from holdfast.worker.process.settings import WorkerSettings

from tests.support.process import inherited_env
from tests.support.proxies import CADDY, DEPLOY

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = ROOT / "docker-compose.yml"
TLS = ROOT / "deploy/compose.tls.yml"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"]
    return services


def merged(one: Any, other: Any) -> Any:
    """Merge what two files say, as Compose does: mappings by name, lists one after the other, else the second one."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one | other | {name: merged(one[name], other[name]) for name in one.keys() & other.keys()}
    return one + other if isinstance(one, list) and isinstance(other, list) else other


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two files as one."""
    file = tmp_path_factory.mktemp("compose") / "both.yml"
    texts = [yaml.safe_load(one.read_text("utf-8")) for one in (COMPOSE, TLS)]
    for text in texts:  # a list of names is short for a mapping
        for service in text["services"].values():
            if isinstance(service.get("depends_on"), list):
                service["depends_on"] = {name: {"condition": "service_started"} for name in service["depends_on"]}
    file.write_text(yaml.safe_dump(merged(*texts)), "utf-8")
    return file


def test_the_files_are_valid_by_the_compose_specification_alone_and_together(both: Path) -> None:
    files = [str(COMPOSE), str(TLS), str(both)]
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_the_files_name_together_is_there(both: Path) -> None:
    text = yaml.safe_load(both.read_text("utf-8"))
    for name, service in text["services"].items():
        assert "image" in service, name
        assert set(service.get("depends_on", ())) <= set(text["services"]), name
        volumes = [re.sub(r"\$\{\w+:-(.+?)\}", r"\1", volume) for volume in service.get("volumes", ())]
        assert {volume.partition(":")[0] for volume in volumes if volume[0] != "."} <= set(text["volumes"]), name
    assert text["services"]["proxy"]["depends_on"].keys() == {"gateway", "proxy-data"}
    published = [port.rpartition(":")[0] for port in text["services"]["proxy"]["ports"]]
    assert len(published) == len(set(published)) == 3
    gateway = text["services"]["gateway"]["environment"]
    assert gateway["HOLDFAST_AUTH"].startswith("${HOLDFAST_AUTH:?")
    assert gateway["HOLDFAST_REDIS_PASSWORD_FILE"] == "/run/holdfast/gateway/password"


SERVERS = {"redis", "gateway", "worker", "proxy"}


def test_there_are_a_redis_gateways_workers_and_a_proxy_and_two_services_for_commands(services: dict[str, Any]) -> None:
    assert set(services) == SERVERS | {"setup", "operator"}
    assert services["operator"]["profiles"] == ["operator"]


def test_redis_knows_the_users_that_setup_writes_and_nobody_else(services: dict[str, Any]) -> None:
    setup, redis = services["setup"], services["redis"]
    assert setup["command"] == ["redis-users", "/run/holdfast"]
    assert setup["network_mode"] == "none"
    assert "redis-users:/run/holdfast/redis" in setup["volumes"]
    assert "redis-users:/etc/holdfast:ro" in redis["volumes"]
    assert "aclfile /etc/holdfast/users.acl" in (ROOT / "deploy/redis.conf").read_text("utf-8").splitlines()


@pytest.mark.parametrize("service", ["gateway", "worker", "operator"])
def test_a_service_is_a_redis_user_of_its_own_and_can_read_no_other_password(
    services: dict[str, Any], service: str
) -> None:
    environment, folder = services[service]["environment"], f"/run/holdfast/{service}"
    assert environment["HOLDFAST_REDIS_URL"] == f"${{HOLDFAST_REDIS_URL:-redis://{service}@redis:6379/0}}"
    assert environment["HOLDFAST_REDIS_PASSWORD_FILE"] == f"{folder}/password"
    assert services[service]["volumes"] == [f"{service}-password:{folder}:ro"]
    assert f"{service}-password:{folder}" in services["setup"]["volumes"]


def test_only_the_proxy_is_published_and_only_on_the_loopback_interface(services: dict[str, Any]) -> None:
    assert {name: service["ports"] for name, service in services.items() if "ports" in service} == {
        "proxy": ["127.0.0.1:${HOLDFAST_PORT:-8000}:8000"]
    }


def test_the_proxy_is_published_elsewhere_with_tls_and_a_choice_of_authentication_only() -> None:
    services = yaml.safe_load(TLS.read_text("utf-8"))["services"]
    assert services["proxy"]["ports"] == ["80:8000", "443:8443"]
    assert services["proxy"]["environment"]["HOLDFAST_SITE"].startswith("${HOLDFAST_SITE:?")
    assert services["gateway"]["environment"]["HOLDFAST_AUTH"].startswith("${HOLDFAST_AUTH:?")
    text = (ROOT / "deploy/Caddyfile.tls").read_text("utf-8")
    assert all(line in text.splitlines() for line in ("\thttp_port 8000", "\thttps_port 8443"))


def test_the_proxy_is_a_caddy_that_retries_posts_and_passes_cuts_on(services: dict[str, Any]) -> None:
    assert services["proxy"]["image"] == "${CADDY_IMAGE:-caddy:2.11}"


def test_every_service_can_be_copied_and_comes_back_after_a_crash(services: dict[str, Any]) -> None:
    assert not any("container_name" in service for service in services.values())
    assert {services[name]["restart"] for name in SERVERS} == {"unless-stopped"}


@pytest.mark.parametrize(("service", "settings"), [("gateway", GatewaySettings), ("worker", WorkerSettings)])
def test_every_setting_of_a_process_is_passed_through(
    services: dict[str, Any], service: str, settings: type[GatewaySettings | WorkerSettings]
) -> None:
    wanted = {f"HOLDFAST_{name}".upper() for name in settings.model_fields}
    given = {name for name in services[service]["environment"] if name.startswith("HOLDFAST_")}
    assert given == wanted


def test_no_setting_gets_a_value_here_but_for_addresses(services: dict[str, Any]) -> None:
    given = {name: value for service in services.values() for name, value in service.get("environment", {}).items()}
    redis = {"HOLDFAST_REDIS_URL", "HOLDFAST_REDIS_PASSWORD_FILE"}
    assert {name: value for name, value in given.items() if value is not None and name not in redis} == {
        "HOLDFAST_HOST": "0.0.0.0",
        "HOLDFAST_AUTH": "${HOLDFAST_AUTH:-off}",
        "HOLDFAST_PORT": "8000",
        "HOLDFAST_ALLOWED_HOSTS": "${HOLDFAST_ALLOWED_HOSTS:-gateway,proxy}",
        "HOLDFAST_TRUSTED_PROXIES": "${HOLDFAST_TRUSTED_PROXIES:-10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fd00::/8}",
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


@pytest.mark.parametrize("file", [COMPOSE, TLS], ids=["docker-compose.yml", "compose.tls.yml"])
def test_what_a_service_mounts_is_there(file: Path) -> None:
    services = yaml.safe_load(file.read_text("utf-8"))["services"]
    volumes = [volume for service in services.values() for volume in service.get("volumes", ())]
    mounted = [volume.partition(":")[0] for volume in volumes if volume.startswith("./")]
    assert mounted
    assert all((ROOT / name).is_file() for name in mounted)


@pytest.mark.parametrize("name", ["Caddyfile", "Caddyfile.tls"])
def test_caddy_accepts_what_is_shipped_as_it_is(name: str, tmp_path: Path) -> None:
    command = [str(CADDY), "validate", "--config", str(DEPLOY / name), "--adapter", "caddyfile"]
    given = {"HOLDFAST_SITE": "chat.example.com", "HOLDFAST_CERTIFICATES": str(tmp_path)}
    folders = {"XDG_CONFIG_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=inherited_env() | given | folders)
    assert done.returncode == 0, done.stderr
    assert "not formatted" not in done.stderr


def test_nginx_logs_no_variable_that_can_hold_a_query_or_a_credential() -> None:
    """`$request`, `$request_uri`, `$args`, `$http_referer` and others do. scripts/edge tests a running nginx."""
    text = (DEPLOY / "nginx.conf").read_text("utf-8")
    (log_format,) = re.findall(r"log_format path (.+?);\n", text, re.DOTALL)
    assert set(re.findall(r"\$(\w+)", log_format)) == {
        *("time_iso8601", "remote_addr", "request_method", "uri", "server_protocol", "status", "bytes_sent"),
        *("request_time", "upstream_addr", "upstream_status", "passed_request_id"),
    }
    logs = re.findall(r"^ +((?:access|error)_log) \S+ (\w+);$", text, re.MULTILINE)
    assert logs == [("access_log", "path"), ("error_log", "emerg")]
