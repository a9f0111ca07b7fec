"""HTTP, through the proxy."""

from __future__ import annotations

import http.client
import json
import secrets
import ssl
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from deploy.scale_check import ANSWER_S, INTERVAL_MS, TICKET_S, TOKENS, CheckFailed

PAUSE_S = 1.0  # before a request is sent again


@dataclass(frozen=True)
class Door:
    """The address of a deployment, such as https://localhost, and an API key for it if it demands one.

    Certificates are verified with the authorities of the system, or with those of the file SSL_CERT_FILE."""

    url: str
    token: str | None = None
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)

    def connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        if parts.hostname is None or parts.scheme not in {"http", "https"}:
            raise CheckFailed(f"{self.url} is no address of a deployment, such as https://localhost")
        if parts.scheme == "http":
            return http.client.HTTPConnection(parts.hostname, parts.port, timeout=ANSWER_S)
        return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=ANSWER_S, context=self.tls)

    def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """One request: the status, and the JSON of the answer. Status 0 when there is none."""
        sent = {"Content-Type": "application/json"} | (headers or {})
        if self.token is not None:
            sent["Authorization"] = f"Bearer {self.token}"
        connection = self.connect()
        try:
            connection.request(method, path, None if body is None else json.dumps(body), sent)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        except ssl.SSLCertVerificationError as error:
            raise CheckFailed(f"{self.url}: {error.verify_message}; SSL_CERT_FILE names the authority's file") from None
        except (OSError, http.client.HTTPException, ValueError):
            return 0, None
        finally:
            connection.close()

    def submit(self, session_id: str) -> str:
        """Queue a scripted job; the id of the job. The key makes it one job, however often it has to be sent."""
        body = {"agent": "scripted", "input": "go", "options": {"tokens": TOKENS, "interval_ms": INTERVAL_MS}}
        key = {"Idempotency-Key": secrets.token_hex(8)}
        return str(self._insist(202, f"/v1/sessions/{session_id}/jobs", body, key)["job_id"])

    def ticket(self, session_id: str) -> str | None:
        """A ticket that may only read this session. None where no token is demanded."""
        if self.token is None:
            return None
        body = {"rights": ["read"], "expires_in_s": TICKET_S}
        return str(self._insist(201, f"/v1/sessions/{session_id}/tickets", body)["ticket"])

    def job(self, session_id: str, job_id: str) -> dict[str, Any]:
        status, answer = self.call("GET", f"/v1/sessions/{session_id}/jobs/{job_id}")
        return answer if status == 200 else {"status": f"HTTP {status}", "worker": None, "attempt": 0}

    def offers_http2(self) -> bool:
        """Whether a TLS handshake chooses HTTP/2, which http.client does not speak."""
        context = ssl.create_default_context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        connection = Door(self.url, tls=context).connect()
        try:
            connection.connect()
            return isinstance(connection.sock, ssl.SSLSocket) and connection.sock.selected_alpn_protocol() == "h2"
        finally:
            connection.close()

    def _insist(self, wanted: int, path: str, body: Any, headers: dict[str, str] | None = None) -> Any:
        """Send a POST until it has the wanted status, five times at most. Returns the JSON of the answer."""
        status, answer = 0, None
        for _ in range(5):
            status, answer = self.call("POST", path, body, headers)
            if status == wanted:
                return answer
            time.sleep(PAUSE_S)
        raise CheckFailed(f"POST {path} was not accepted: {status} {answer}")
