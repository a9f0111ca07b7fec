"""The command `holdfast`. Subcommands import their dependencies when called, so that each starts fast."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from holdfast.cli.commands import DEFAULT_FOLDER, data_keys, keys, redis_users, tenants
from holdfast.shared.errors import HoldfastError, SettingsInvalid

if TYPE_CHECKING:
    from holdfast.client import Event
    from holdfast.client.requests import OnBusy

MARKS = {
    True: click.style("ok  ", fg="green"),
    False: click.style("bad ", fg="red"),
    None: click.style("note", dim=True),
}

url_option = click.option("--url", help="The gateway. Default: HOLDFAST_HOST and HOLDFAST_PORT, http://127.0.0.1:8000.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="holdfast")
def cli() -> None:
    """A message-queue streaming gateway with resumable sessions."""


for command in (keys, tenants, data_keys, redis_users):
    cli.add_command(command)


@cli.command()
@click.option("--agents", help="Modules with agents, separated by commas; adds HOLDFAST_AGENTS for this run.")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), default=DEFAULT_FOLDER, show_default=True)
def dev(agents: str | None, data: Path) -> None:
    """Run everything on this machine: an embedded Redis, a gateway and a worker.

    With HOLDFAST_REDIS_URL set, that Redis is used. Ctrl-C stops everything; the data stays in the --data folder.
    """
    from holdfast.cli.dev import run

    offer(agents)
    warn_of_unknown_variables()
    run(data)


@cli.command()
@click.option("--processes", type=click.IntRange(min=1), help="On one port. Default: HOLDFAST_GATEWAY_PROCESSES, 1.")
def gateway(processes: int | None) -> None:
    """Run a gateway."""
    from holdfast.gateway.__main__ import main as run

    if processes is not None:
        os.environ["HOLDFAST_GATEWAY_PROCESSES"] = str(processes)
    warn_of_unknown_variables()
    run()


@cli.command()
@click.option("--agents", help="Modules with agents, separated by commas. Default: HOLDFAST_AGENTS.")
def worker(agents: str | None) -> None:
    """Run one worker. Modules in the working directory are found too."""
    from holdfast.worker.__main__ import main as run

    offer(agents)
    warn_of_unknown_variables()
    run()


def warn_of_unknown_variables() -> None:
    """Print a line for each HOLDFAST_ variable that is not a setting: most are misspelled."""
    from holdfast.cli.variables import unknown_variables

    for line in unknown_variables(os.environ):
        click.echo(f"holdfast: {line}", err=True)


def offer(agents: str | None) -> None:
    if agents is not None:
        os.environ["HOLDFAST_AGENTS"] = agents


@cli.command()
@click.argument("text")
@click.option("--agent", default="demo", show_default=True)
@click.option("--session", help="Continue this session, or begin it. Default: a new one.")
@click.option("--option", "-o", "options", multiple=True, metavar="KEY=VALUE", help="For the agent; VALUE may be JSON.")
@click.option("--on-busy", type=click.Choice(["queue", "reject", "interrupt"]), default="queue", show_default=True)
@click.option("--timeout", "timeout_s", type=int, help="How long the job may run, in seconds.")
@click.option("--key", help="Idempotency key: the same key again is the same job. Default: a new one.")
@click.option("--wait/--no-wait", default=True, help="Stream the answer, or print what was accepted.  [default: wait]")
@url_option
def send(
    text: str,
    agent: str,
    session: str | None,
    options: tuple[str, ...],
    on_busy: OnBusy,
    timeout_s: int | None,
    key: str | None,
    wait: bool,
    url: str | None,
) -> None:
    """Queue a job with TEXT (- reads standard input) and stream its answer. Exits 1 unless the job completes.

    Ctrl-C leaves the job running.
    """
    from holdfast.cli.connection import connected, patiently
    from holdfast.client import JobOptions

    chosen: JobOptions = {"agent": agent, "options": dict(map(parse_option, options)), "on_busy": on_busy}
    if session:
        chosen["session_id"] = session
    if timeout_s is not None:
        chosen["timeout_s"] = timeout_s
    if key:
        chosen["idempotency_key"] = key
    with connected(url or default_url()) as client:
        job = client.send(sys.stdin.read() if text == "-" else text, **chosen)
        if not wait:
            click.echo(orjson.dumps(job.accepted))
            return
        click.echo(f"session {job.session_id}, job {job.job_id}", err=True)
        last = follow(job.stream(**patiently()))
    sys.exit(last != "job.completed")


def parse_option(text: str) -> tuple[str, Any]:
    """Parse `key=value`. A value that is not JSON is a string."""
    key, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"--option {text}: KEY=VALUE is needed")
    return key, parse_value(value)


def parse_value(text: str) -> Any:
    """Parse JSON; anything else is a string."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


@cli.command()
@click.argument("session")
@click.argument("value")
@click.option("--job", help="The job that asks. Default: the session's current one.")
@url_option
def answer(session: str, value: str, job: str | None, url: str | None) -> None:
    """Answer an agent's question in a session. VALUE may be JSON."""
    from holdfast.cli.connection import connected

    with connected(url or default_url()) as client:
        client.answer(session, job or client.session(session)["job_id"], parse_value(value))


@cli.command()
@click.argument("session")
@click.option("--job", help="Only this job's events; ends with the job.")
@click.option("--after", "cursor", default="", metavar="ID", help="Begin after this event id.")
@click.option("--new", "only_new", is_flag=True, help="Only what comes from now on.")
@url_option
def tail(session: str, job: str | None, cursor: str, only_new: bool, url: str | None) -> None:
    """Watch a session: text on a terminal, JSON lines elsewhere. Lost connections are resumed."""
    from holdfast.cli.connection import connected, patiently

    with connected(url or default_url()) as client:
        follow(client.stream(session, job, cursor or None, **patiently(only_new=only_new)))


def follow(events: Iterable[Event]) -> str | None:
    """Show events until the last one. Returns its type."""
    from holdfast.cli.show import show_to

    last = None
    show = show_to(sys.stdout)
    for event in events:
        show(event)
        last = event.type
    show.end()
    return last


def default_url() -> str:
    from holdfast.cli.dev import url_of
    from holdfast.gateway.settings import GatewaySettings
    from holdfast.shared.settings import read_settings

    settings = read_settings(GatewaySettings)
    return url_of(settings.host, settings.port)


@cli.command()
@click.option("--once", is_flag=True, help="Print one page.")
@url_option
def top(once: bool, url: str | None) -> None:
    """Show workers, queue and rates of a deployment until Ctrl-C. HOLDFAST_TOKEN: a key with the right `observe`."""
    from holdfast.cli.top import run

    with suppress(KeyboardInterrupt):
        run(url or default_url(), sys.stdout, once=once)


@cli.command()
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), default=DEFAULT_FOLDER, show_default=True)
@url_option
def check(data: Path, url: str | None) -> None:
    """Check the settings, the agents, Redis and the gateway, one line each. Exits 1 when one of them is unusable.

    While `holdfast dev` runs on the --data folder, its embedded Redis is checked.
    """
    sys.exit(asyncio.run(_check(data, url)))


async def _check(data: Path, url: str | None) -> bool:
    import logging

    import structlog

    from holdfast.cli.check import findings

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL)
    )  # the report replaces log lines
    failed = False
    async for finding in findings(data, url):
        click.echo(f"{MARKS[finding.ok]} {finding.text}")
        failed = failed or finding.ok is False
    return failed


@cli.group()
def webhooks() -> None:
    """What receivers of webhooks need."""


@webhooks.command()
@click.option("--tenant", default="", help="Default: a deployment without authentication.")
def secret(tenant: str) -> None:
    """Print the secret with which webhooks of a tenant are signed: the newest of HOLDFAST_WEBHOOK_SECRET."""
    from holdfast.shared.owner import check_tenant
    from holdfast.shared.settings import CommonSettings, read_settings
    from holdfast.shared.webhooks.signature import parse_secrets, tenant_secret

    secrets = parse_secrets(read_settings(CommonSettings).webhook_secret)
    if not secrets:
        raise SettingsInvalid("HOLDFAST_WEBHOOK_SECRET is not set")
    click.echo(tenant_secret(secrets[0], check_tenant(tenant) if tenant else ""))


def main() -> None:
    """Run the command. Errors that users can fix are one line and exit code 1 (2 for settings), without a traceback."""
    try:
        cli(prog_name="holdfast")
    except SettingsInvalid as error:
        for line in str(error).splitlines():
            click.echo(f"holdfast: {line}", err=True)
        sys.exit(2)
    except HoldfastError as error:
        click.echo(f"holdfast: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
