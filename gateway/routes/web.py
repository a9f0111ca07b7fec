"""The web page: static files, served from memory, with a Content-Security-Policy that allows nothing else."""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files
from typing import NamedTuple

from fastapi import APIRouter, Request
from holdfast.gateway.errors import RouteUnknown
from starlette.responses import Response

router = APIRouter(include_in_schema=False)

MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
# The folders below /web/, and where their files are: a package and a path in it.
FOLDERS = {
    "": ("holdfast.gateway", "web"),
    "vendor/": ("holdfast.gateway", "web/vendor"),
    "client/": ("holdfast.gateway.client_js", "src"),
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class WebFile(NamedTuple):
    content: bytes
    headers: dict[str, str]


def load_web_files() -> dict[str, WebFile]:
    """Load the files of the page and of the JavaScript client, by their path below /web/."""
    found = {}
    for folder, (package, path) in FOLDERS.items():
        for file in files(package).joinpath(path).iterdir():
            suffix = file.name.rpartition(".")[2]
            if file.is_file() and suffix in MEDIA_TYPES:
                content = file.read_bytes()
                own = {"Content-Type": MEDIA_TYPES[suffix], "ETag": f'"{sha256(content).hexdigest()[:32]}"'}
                found[folder + file.name] = WebFile(content, own | HEADERS)
    return found


@router.api_route("/", methods=["GET", "HEAD"])
async def page(request: Request) -> Response:
    return _file(request, "index.html")


@router.api_route("/console", methods=["GET", "HEAD"])
async def console(request: Request) -> Response:
    return _file(request, "console.html")


@router.api_route("/web/{name:path}", methods=["GET", "HEAD"])
async def web_file(request: Request, name: str) -> Response:
    if name.endswith(".html"):
        raise RouteUnknown
    return _file(request, name)


def _file(request: Request, name: str) -> Response:
    found: WebFile | None = request.app.state.web_files.get(name)
    if found is None:
        raise RouteUnknown
    if found.headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=found.headers)
    return Response(found.content, headers=found.headers)
