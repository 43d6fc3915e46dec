"""The page that browsers come back to: a code for those who came from a login, nothing for all others."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.config.sections.oauth2 import OAuth2RedirectConfig
from moorage.errors import ConfigError
from moorage.web.oauth2 import RedirectServer
from moorage.web.server import Reply, Request


def ask(path: str = "/", query: str = "", webroot: Path | None = None) -> Reply:
    server = RedirectServer(OAuth2RedirectConfig(listen="127.0.0.1:0", webroot=str(webroot or "")))
    return server._reply(Request(path, "", query))


def test_state_and_code_are_shown_to_be_copied() -> None:
    reply = ask(query="state=St-a_te&code=4/0Ab.c%2B%3D")
    assert reply.status == 200
    assert b">St-a_te|4/0Ab.c+=<" in reply.body
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["Referrer-Policy"] == "no-referrer"
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "state=a",
        "code=a",
        "state=&code=",
        urlencode({"state": "a", "code": "<script>alert(1)</script>"}),
        urlencode({"state": '"><img src=x>', "code": "a"}),
        urlencode({"state": "a", "code": "a\nb"}),
        urlencode({"state": "a", "code": "x" * 5000}),
        "state=a&code=" + "x" * 9000,
        "&".join(f"a{n}=b" for n in range(50)),
        "state=%ff&code=%00",
    ],
)
def test_what_comes_from_no_provider_shows_nothing_of_itself(query: str) -> None:
    reply = ask(query=query)
    assert reply.status == 400
    assert b"script>" not in reply.body
    assert b"textarea readonly" not in reply.body


def test_the_providers_refusal_is_told_and_escaped() -> None:
    reply = ask(query=urlencode({"error": "access_denied", "error_description": "<b>no</b>" * 100}))
    assert b"access_denied &lt;b&gt;no" in reply.body
    assert b"<b>" not in reply.body
    assert len(reply.body) < 4000


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=200))
def test_no_text_of_a_stranger_becomes_markup(state: str, code: str, error: str) -> None:
    query = urlencode({"state": state, "code": code, "error": error, "error_description": code}, errors="replace")
    body = ask(query=query).body.decode()
    for text in (state, code, error):
        if "<" in text and len(text) > 3:
            assert text not in body


def test_other_paths_are_not_there() -> None:
    for path in ("/index.html", "/favicon.ico", "//", "/../etc/passwd"):
        assert ask(path).status == 404


@pytest.fixture
def webroot(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "index.html").write_text("<p>Code: {{ .Code }}</p><p>{{.Code}}</p>")
    (root / "style.css").write_text("p {}")
    (root / "sub" / "a.js").write_text("1")
    (root / ".secret").write_text("no")
    (tmp_path / "outside").write_text("no")
    (root / "link").symlink_to(tmp_path / "outside")
    return root


def test_a_page_of_ones_own_gets_the_code_and_its_files(webroot: Path) -> None:
    reply = ask("/", "state=a&code=b", webroot)
    assert reply.body == b"<p>Code: a|b</p><p>a|b</p>"
    assert ask("/style.css", webroot=webroot).body == b"p {}"
    assert ask("/style.css", webroot=webroot).content_type == "text/css"
    assert ask("/sub/a.js", webroot=webroot).body == b"1"


@pytest.mark.parametrize(
    "path",
    ["/../outside", "/sub/../../outside", "/link", "/.secret", "/sub", "/sub/", "/%2e%2e/outside", "/a\0b", "/..\\x"],
)
def test_nothing_but_plain_files_below_the_webroot_is_served(webroot: Path, path: str) -> None:
    assert ask(path, webroot=webroot).status == 404


def test_a_webroot_without_a_page_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"redirect\.webroot"):
        ask(webroot=tmp_path)
