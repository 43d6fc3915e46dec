"""Where identity providers send browsers back to: a page that shows the code to paste.

The page knows nothing of any login and keeps nothing.  Only who holds the browser *and* the terminal can bring
the two together, so that a link that was sent to somebody else is worth nothing without what he is shown here.
"""

from __future__ import annotations

import html
import mimetypes
import re
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

from moorage.codes import Code
from moorage.config.sections.oauth2 import OAuth2RedirectConfig
from moorage.errors import ConfigError
from moorage.web.server import Reply, Request, WebServer

LONGEST_QUERY: Final = 8 * 1024
LARGEST_FILE: Final = 4 * 1024 * 1024

_SAFE: Final = re.compile(r"[A-Za-z0-9._~+/=:@!$*,;-]{1,4000}")
"""What a state or a code consists of.  Nothing here means anything in HTML, a script or a URL of a custom page."""

_PLACE: Final = re.compile(r"\{\{-?\s*\.Code\s*-?\}\}")
_HTML: Final = "text/html; charset=utf-8"
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
}
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"

_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex">
<title>Your login</title>
<style>
body {{ font: 1.1em/1.5 sans-serif; max-width: 40em; margin: 4em auto; padding: 0 1em }}
textarea {{ font: 1em monospace; width: 100%; height: 6em; user-select: all }}
</style>
<h1>{title}</h1>
{body}
"""
_CODE: Final = """<p>Copy this code and paste it in the window that asked you to come here.</p>
<textarea readonly autofocus aria-label="code">{code}</textarea>
<p><strong>If somebody has sent you here, close this page and give the code to nobody:</strong>
whoever has it logs in as you.</p>
"""


class RedirectServer(WebServer):
    """Shows ``state|code`` at ``/`` and serves the files of the webroot, if there is one, below it."""

    def __init__(self, config: OAuth2RedirectConfig) -> None:
        """Raises `ConfigError` if the webroot has no index.html that can be read."""
        super().__init__(
            "OAuth2 redirect server",
            "auth.keyboardInteractive.oauth2.redirect",
            config,
            self._reply,
            available=Code.AUTH_OAUTH2_AVAILABLE,
        )
        self._root = Path(config.webroot).resolve() if config.webroot else None
        if self._root is not None:
            try:
                self._index()
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(
                    f"auth.keyboardInteractive.oauth2.redirect.webroot: {self._root / 'index.html'} cannot be read",
                    code=Code.AUTH_CONFIG_ERROR,
                ) from error

    def _reply(self, request: Request) -> Reply:
        if request.path == "/":
            return self._landing(request.query)
        if self._root is None:
            return Reply(404, headers=_HEADERS)
        return self._file(self._root, request.path)

    def _landing(self, query: str) -> Reply:
        if len(query) > LONGEST_QUERY:
            return _page("That was too much.", "<p>The address of this page is too long.</p>", 400)
        try:
            fields = parse_qs(query, max_num_fields=20, errors="replace")
        except ValueError:
            return _page("That was too much.", "<p>The address of this page has too many parts.</p>", 400)
        state, code, error = (fields.get(name, [""])[0] for name in ("state", "code", "error"))
        if error:
            said = html.escape(f"{error[:100]} {fields.get('error_description', [''])[0][:300]}".strip())
            return _page("You are not logged in.", f"<p>The identity provider says: {said}</p>", 200)
        if not _SAFE.fullmatch(state) or not _SAFE.fullmatch(code):
            return _page("Nothing to see here.", "<p>This page is for logins by SSH: connect first.</p>", 400)
        shown = html.escape(f"{state}|{code}")
        if self._root is None:
            return _page("Nearly there.", _CODE.format(code=shown), 200)
        try:
            page = _PLACE.sub(lambda _: shown, self._index())
        except (OSError, UnicodeDecodeError):
            return Reply(500, headers=_HEADERS)
        return Reply(200, page.encode(), _HTML, _HEADERS)

    def _index(self) -> str:
        assert self._root is not None
        with (self._root / "index.html").open("rb") as file:
            return file.read(LARGEST_FILE).decode()

    @staticmethod
    def _file(root: Path, path: str) -> Reply:
        """A file below the root; no directories, no hidden files, nothing that a link leads out to."""
        parts = path.removeprefix("/").split("/")
        if any(not part or part.startswith(".") or "\0" in part or "\\" in part for part in parts):
            return Reply(404, headers=_HEADERS)
        try:
            file = root.joinpath(*parts).resolve(strict=True)
            if not file.is_relative_to(root) or not file.is_file() or file.stat().st_size > LARGEST_FILE:
                return Reply(404, headers=_HEADERS)
            kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
            return Reply(200, file.read_bytes(), kind, {**_HEADERS, "Cache-Control": "max-age=3600"})
        except (OSError, ValueError):
            return Reply(404, headers=_HEADERS)


def _page(title: str, body: str, status: int) -> Reply:
    page = _PAGE.format(title=html.escape(title), body=body)
    return Reply(status, page.encode(), _HTML, {**_HEADERS, "Content-Security-Policy": _POLICY})
