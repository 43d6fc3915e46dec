"""A user agent of plain forms: cookies, redirects and the first form of each page; no scripts."""

from __future__ import annotations

import urllib.error
import urllib.request
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookiejar import CookieJar
from urllib.parse import urlencode, urljoin


@dataclass
class Page:
    """Where the browser has ended up, and what it was shown."""

    url: str
    status: int
    text: str


@dataclass
class _Form(HTMLParser):
    action: str | None = None
    method: str = "get"
    fields: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()
        self._done = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if self._done:
            return
        if tag == "form" and self.action is None:
            self.action, self.method = given.get("action", ""), given.get("method", "get").lower()
        elif tag == "input" and self.action is not None and given.get("name"):
            self.fields[given["name"]] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        self._done = self._done or (tag == "form" and self.action is not None)


class Browser:
    """One user's browser."""

    def __init__(self) -> None:
        jar = urllib.request.HTTPCookieProcessor(CookieJar())
        self._opener = urllib.request.build_opener(jar)

    def get(self, url: str, data: bytes | None = None) -> Page:
        """Open an address, through all redirects."""
        try:
            with self._opener.open(url, data=data, timeout=30) as answer:
                return Page(answer.url, answer.status, answer.read().decode(errors="replace"))
        except urllib.error.HTTPError as error:
            with error:
                return Page(error.url or url, error.code, error.read().decode(errors="replace"))

    def submit(self, page: Page, **fields: str) -> Page:
        """Send the first form of a page, some fields filled in; a field ``abort`` is left out."""
        form = _Form()
        form.feed(page.text)
        assert form.action is not None, f"there is no form on {page.url}: {page.text[:500]}"
        every = {**form.fields, **fields}
        every.pop("abort", None)
        return self.get(urljoin(page.url, form.action), urlencode(every).encode())

    def log_in(self, url: str, name: str) -> Page:
        """Go through the provider's forms as `name`, whatever they ask, until there is none any more."""
        page = self.get(url)
        for _ in range(8):
            if "<form" not in page.text:
                return page
            asked = _Form()
            asked.feed(page.text)
            page = self.submit(page, **({"login": name, "password": "any"} if "login" in asked.fields else {}))
        raise AssertionError(f"there is no end of forms: {page.text[:500]}")
