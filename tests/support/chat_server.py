"""A provider of a model: a real HTTP server that streams a chat completion, or fails."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WORDS = ("Kelp ", "has ", "no ", "roots.")
USAGE = {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}


@contextmanager
def chat_server(status: int = 200) -> Iterator[str]:
    """Serve during the block. Yields its base URL. `status`: of every response."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = _stream() if status == 200 else b'{"error": {"message": "no"}}'
            self.send_response(status)
            self.send_header("Content-Type", "text/event-stream" if status == 200 else "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


def _stream() -> bytes:
    deltas = [{"delta": {"content": word}, "index": 0} for word in WORDS]
    deltas.append({"delta": {}, "index": 0, "finish_reason": "stop"})
    chunks: list[dict[str, Any]] = [{"choices": [delta]} for delta in deltas]
    chunks.append({"choices": [], "usage": USAGE})
    common = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "kelp-1"}
    frames = [f"data: {json.dumps(common | chunk)}\n\n" for chunk in chunks]
    return "".join([*frames, "data: [DONE]\n\n"]).encode()
