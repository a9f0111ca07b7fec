"""A provider for frameworks that run in the test's own process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest
from holdfast.worker.process.settings import quieten

from tests.support.aimock import Aimock, aimock_in
from tests.support.record import Record

quieten()  # before the tests import the frameworks, as a worker does


@pytest.fixture(scope="session")
def _aimock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aimock]:
    with aimock_in(tmp_path_factory.mktemp("aimock")) as running:
        yield running


@pytest.fixture
def aimock(_aimock: Aimock, monkeypatch: pytest.MonkeyPatch) -> Aimock:
    """A fake provider at which the SDKs of this process look for the real one."""
    monkeypatch.setenv("OPENAI_BASE_URL", f"{_aimock.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "not-a-key")
    return _aimock


@pytest.fixture
def record() -> Record:
    return Record()


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    """For the SDKs of a test: the frameworks keep their own clients for ever, across the loops of tests."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        yield client
