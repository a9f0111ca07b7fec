"""The commands that operators use on the Redis servers: credentials, data keys, and Redis users."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from holdfast.cli.data_keys import Change

DEFAULT_FOLDER = Path(".holdfast")

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_FOLDER,
    help="The folder of `holdfast dev`, while it runs; else HOLDFAST_REDIS_URL is used.",
)


@click.group()
def keys() -> None:
    """Create, list and revoke API keys."""


@keys.command("create")
@click.option("--tenant", required=True, help="1 to 64 letters, digits, _ . or -.")
@click.option("--rights", default="answer,delete,read,stop,submit,ticket", show_default=True)
@click.option("--name", default="", help="What it is for; shown by `holdfast keys list`.")
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="Days until it expires. Default: never.")
@data_option
def create_key(tenant: str, rights: str, name: str, days: float | None, data: Path) -> None:
    """Create an API key and print it. It is not stored, and cannot be shown again."""
    from holdfast.cli import access

    click.echo(access.create_key(data, tenant, rights, name, days))


@keys.command("list")
@click.option("--tenant", help="Only the keys of this tenant.")
@data_option
def list_keys(tenant: str | None, data: Path) -> None:
    """List the keys: id, tenant, rights, dates, name."""
    from holdfast.cli import access

    for line in access.key_lines(data, tenant):
        click.echo(line)


@keys.command("revoke")
@click.argument("key_id")
@data_option
def revoke_key(key_id: str, data: Path) -> None:
    """Revoke a key by its id. Open streams of it, and of tickets made with it, end within 5 s."""
    from holdfast.cli import access

    access.revoke_key(data, key_id)


@click.group()
def tenants() -> None:
    """List tenants, and set what each may use."""


@tenants.command("list")
@data_option
def list_tenants(data: Path) -> None:
    """List the tenants that have keys or limits."""
    from holdfast.cli import access

    for line in access.tenant_lines(data):
        click.echo(line)


@tenants.command("set")
@click.argument("tenant")
@click.option("--agents", help="Names separated by commas. Default: all.")
@click.option("--models", help="Names separated by commas. Default: all.")
@data_option
def set_tenant(tenant: str, agents: str | None, models: str | None, data: Path) -> None:
    """Set which agents and models a tenant may use."""
    from holdfast.cli import access

    access.set_tenant(data, tenant, agents, models)


@tenants.command("revoke-tickets")
@click.argument("tenant")
@data_option
def revoke_tickets(tenant: str, data: Path) -> None:
    """Void all tickets and sign-ins of a tenant that were made before now."""
    from holdfast.cli import access

    access.revoke_tickets(data, tenant)


@click.group("data-keys")
def data_keys() -> None:
    """List, renew and delete the keys that encrypt what tenants store, see docs/encryption.md."""


tenant_option = click.option("--tenant", help="Only this tenant. Default: all.")


@data_keys.command("list")
def list_data_keys() -> None:
    """Print each tenant with the master keys of its data keys, newest first."""
    from holdfast.cli.data_keys import listed

    for line in asyncio.run(listed()):
        click.echo(line)


@data_keys.command()
@tenant_option
def rotate(tenant: str | None) -> None:
    """Add a data key, which encrypts from now on. The older ones still decrypt."""
    change_data_keys("rotate", tenant)


@data_keys.command()
@tenant_option
def rewrap(tenant: str | None) -> None:
    """Encrypt the data keys with the first master key, so that the others can be removed."""
    change_data_keys("rewrap", tenant)


@data_keys.command()
@click.option("--tenant", required=True, help='The tenant; "" without authentication.')
@click.confirmation_option(prompt="What this tenant has stored can never be read again. Delete its data keys?")
def forget(tenant: str) -> None:
    """Delete a tenant's data keys: all that they encrypted is lost."""
    change_data_keys("forget", tenant)


def change_data_keys(change: Change, tenant: str | None) -> None:
    from holdfast.cli.data_keys import changed

    click.echo(f"tenants: {asyncio.run(changed(change, tenant))}")


@click.command("redis-users")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--rotate", is_flag=True, help="New passwords. The last ones stay valid until the next rotation.")
@click.option("--commands", is_flag=True, help="Print ACL SETUSER commands, for a server without a file of users.")
def redis_users(folder: Path, rotate: bool, commands: bool) -> None:
    """Write passwords and rights of the Redis users gateway, worker and operator to FOLDER.

    Passwords that exist are kept. FOLDER/redis/users.acl is the `aclfile` of a Redis server; it has no password, only
    digests.
    """
    from holdfast.cli import redis_users

    redis_users.write_users(folder, rotate=rotate)
    if commands:
        click.echo("\n".join(redis_users.commands(folder)))
