"""Whose certificates the clients accept."""

from __future__ import annotations

from pathlib import Path

import pytest
from holdfast.client import SyncClient, Unavailable

from tests.support.canned import Canned, response
from tests.support.tls import Authority


def test_a_local_gateway_s_certificate_is_accepted_by_the_authority_in_ssl_cert_file_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    tls = authority.server_context("127.0.0.1")
    refused, accepted = (Canned(response("200 OK", b'{"agents":[]}'), tls=tls) for _ in range(2))
    with SyncClient(refused.url, patience_s=0) as client, pytest.raises(Unavailable):
        client.agents()
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with SyncClient(accepted.url) as client:
        assert client.agents() == {"agents": []}
    for server in (refused, accepted):
        server.close()
    assert (len(refused.requests), len(accepted.requests)) == (0, 1)
