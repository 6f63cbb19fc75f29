"""The page at ``/``: plain files of the package under ``/page``, which no other site may frame, script or feed."""

from __future__ import annotations

import pathlib
from typing import Any

FOLDER = pathlib.Path(__file__).parent / "page"
_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
)
HEADERS = {
    "Content-Security-Policy": "; ".join(_POLICY),
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # may be kept, and is asked for again with its ETag
}


def add_page(app: Any) -> None:
    """Add the page and its files to an application. They hold nothing secret, so that no key is asked for."""
    from starlette.staticfiles import StaticFiles

    class Files(StaticFiles):
        """The files, with the headers of the page."""

        async def get_response(self, path: str, scope: Any) -> Any:
            response = await super().get_response(path, scope)
            response.headers.update(HEADERS)
            return response

    files = Files(directory=FOLDER)

    async def index(request: Any) -> Any:
        return await files.get_response("index.html", request.scope)

    app.add_route("/", index, methods=["GET"])
    app.mount("/page", files)
