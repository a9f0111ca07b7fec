"""Send a webhook by HTTP/1.1, to exactly the address that was checked.

The code has no redirects, proxies, cookies and connection pools: a name is resolved once, each of its addresses is
checked, and the socket is connected to one of these, while TLS and `Host` keep the name. A receiver costs a bounded
number of reads, informational responses and seconds; the connection is closed behind the head of the response.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

import h11
from holdfast.shared.webhooks.addresses import Network, is_allowed, is_in
from holdfast.shared.webhooks.target import Target
from holdfast.worker.webhooks.connection import Connection, TooMuchReceived, tls_context

DEADLINE_SECONDS = 10.0  # of a delivery, after its name is resolved
LOOKUP_SECONDS = 10.0
MAX_LOOKUPS = 60  # threads: more than run at once, since those without an answer in time go on
MAX_ADDRESSES = 4  # tried one after the other
MAX_HEAD_BYTES = 16 * 1024
MAX_INFORMATIONAL = 10  # responses 1xx before the final one

Address = tuple[Any, ...]
Resolve = Callable[[str, int], Awaitable[Sequence[tuple[socket.AddressFamily, Address]]]]


class NotSent(Exception):
    """A try failed. The message names neither the URL nor anything that the receiver sent."""


class AddressRefused(NotSent):
    """The name has an address to which no webhook may be sent."""


class Sender:
    """Sends webhooks. `networks`: those that may receive them although they are not public. `resolve`: looks a name
    up."""

    def __init__(self, networks: Sequence[Network], resolve: Resolve | None = None) -> None:
        self._networks = networks
        self._resolve = resolve or _Lookups()
        self._tls = tls_context()

    async def post(self, target: Target, headers: Mapping[str, str], body: bytes) -> int:
        """Send one request, and return the status of the response, whose body is not read. Raises NotSent."""
        addresses = await self._addresses(target)
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                with await _connected(addresses) as connected:
                    connection = Connection(connected)
                    if target.scheme == "https":
                        await connection.start_tls(self._tls, target.host.rstrip("."))
                    return await _exchange(connection, target, headers, body)
        except TimeoutError:
            raise NotSent("no response in time") from None
        except ssl.SSLError as error:
            raise NotSent(f"TLS failed: {error.reason or type(error).__name__}") from None
        except OSError as error:
            raise NotSent(f"the connection failed: {error.strerror or type(error).__name__}") from None
        except TooMuchReceived:
            raise NotSent("the response is too large") from None
        except h11.ProtocolError:
            raise NotSent("the response is not HTTP") from None

    async def _addresses(self, target: Target) -> list[tuple[socket.AddressFamily, Address]]:
        """Resolve the host. Raises AddressRefused unless every address is allowed, NotSent where there is none."""
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                found = await self._resolve(target.host, target.port)
        except (OSError, UnicodeError):  # TimeoutError is an OSError
            found = []
        if not found:
            raise NotSent("the host name was not resolved")
        for _, address in found:
            if not self._may_reach(target, str(address[0])):
                raise AddressRefused("the host has a private or reserved address")
        return list(found[:MAX_ADDRESSES])

    def _may_reach(self, target: Target, address: str) -> bool:
        """Whether the address is allowed. Without TLS, only the networks of the setting are."""
        if target.scheme == "http":
            return is_in(ip_address(address), self._networks)
        return is_allowed(address, self._networks)


async def _connected(addresses: Sequence[tuple[socket.AddressFamily, Address]]) -> socket.socket:
    """Connect to the first address that accepts. Raises OSError, TimeoutError."""
    loop = asyncio.get_running_loop()
    for number, (family, address) in enumerate(addresses, 1):
        connecting = socket.socket(family, socket.SOCK_STREAM)
        try:
            connecting.setblocking(False)
            async with asyncio.timeout(DEADLINE_SECONDS / len(addresses)):
                await loop.sock_connect(connecting, address)
        except BaseException as error:
            connecting.close()
            if number == len(addresses) or not isinstance(error, OSError):
                raise
        else:
            return connecting
    raise NotSent("the host name was not resolved")


async def _exchange(connection: Connection, target: Target, headers: Mapping[str, str], body: bytes) -> int:
    """Send the request and read the head of the response. Returns its status. Raises h11.ProtocolError, OSError,
    TooMuchReceived."""
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
    fixed = {"Host": target.authority, "Content-Length": str(len(body)), "Connection": "close"}
    request = h11.Request(method="POST", target=target.path, headers=[*(fixed | dict(headers)).items()])
    sent = b"".join(http.send(part) or b"" for part in (request, h11.Data(data=body), h11.EndOfMessage()))
    with suppress(ConnectionError):  # a receiver may respond before it has read everything
        await connection.send(sent)
    informational = 0
    while informational <= MAX_INFORMATIONAL:
        event = http.next_event()
        if isinstance(event, h11.Response):
            return int(event.status_code)
        if event is h11.NEED_DATA:
            http.receive_data(await connection.receive())
        elif isinstance(event, h11.InformationalResponse):
            informational += 1
        else:
            raise h11.RemoteProtocolError("no response")
    raise TooMuchReceived


class _Lookups:
    """Resolves names, each in a thread of its own: a slow name server delays neither other names nor the process's
    exit. A thread cannot be cancelled, so those without an answer are counted until they end."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []

    async def __call__(self, host: str, port: int) -> list[tuple[socket.AddressFamily, Address]]:
        """Return the addresses of a name. Raises OSError while too many look-ups have no answer."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        if len(self._threads) >= MAX_LOOKUPS:
            raise OSError("too many look-ups have no answer")
        loop = asyncio.get_running_loop()
        result: asyncio.Future[list[Any]] = loop.create_future()

        def settle(found: list[Any]) -> None:
            if not result.done():
                result.set_result(found)

        def look_up() -> None:
            try:
                found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError):
                found = []
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(settle, found)

        thread = threading.Thread(target=look_up, daemon=True, name="lookup for a webhook")
        thread.start()
        self._threads.append(thread)
        return [(family, address) for family, _, _, _, address in await result]
