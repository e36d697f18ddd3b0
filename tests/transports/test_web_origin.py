"""Which requests are a foreign page's."""

from __future__ import annotations

import pytest

from trionet.transports.web_origin import foreign_page_error

OWN_NAMES = {"127.0.0.1", "node.example"}


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1:8080"),
        ("https://127.0.0.1:8080", "127.0.0.1:8080"),  # TLS ends at a proxy
        ("http://127.0.0.1", "127.0.0.1"),
        ("http://127.0.0.1", "127.0.0.1:80"),
        ("http://127.0.0.1:80", "127.0.0.1"),
        ("https://127.0.0.1", "127.0.0.1:443"),
        ("http://localhost:8080", "localhost:8080"),
        ("HTTP://LocalHost:8080", "LOCALHOST:8080"),
        ("http://[::1]:8080", "[::1]:8080"),
        ("http://[::1]", "[::1]"),
        ("http://192.0.2.1:8080", "192.0.2.1:8080"),
        ("http://node.example:8080", "node.example:8080"),  # configured
        ("http://Node.Example:8080", "node.example:8080"),
    ],
)
def test_a_page_of_this_node_may_call(origin: str, host: str) -> None:
    assert foreign_page_error([origin], [host], OWN_NAMES) is None
    assert foreign_page_error([origin], [host], OWN_NAMES, ("same-origin", "cors", "empty")) is None


HOST = "127.0.0.1:8080"


@pytest.mark.parametrize(
    ("origins", "hosts"),
    [
        *(
            ([f"{scheme}://{HOST}"], [HOST])
            for scheme in (
                "chrome-extension",
                "moz-extension",
                "safari-web-extension",
                "file",
                "ftp",
                "ws",
                "wss",
                "app",
                "capacitor",
                "ionic",
                "vscode-webview",
                "httpx",
                "http+unix",
                "xhttp",
                "",
            )
        ),
        (["chrome-extension://127.0.0.1"], ["127.0.0.1"]),
        (["chrome-extension://127.0.0.1"], [HOST]),
        (["chrome-extension://abcdefghijklmnop"], [HOST]),
        (["null"], [HOST]),
        (["null"], ["null"]),
        ([""], [HOST]),
        ([""], [""]),
        (["file://"], [HOST]),
        (["file:///"], [HOST]),
        (["about:blank"], [HOST]),
        (["data:text/html,x"], [HOST]),
        ([f"blob:http://{HOST}"], [HOST]),
        ([f"http:{HOST}"], [HOST]),
        ([f"http:/{HOST}"], [HOST]),
        ([f"//{HOST}"], [HOST]),
        ([HOST], [HOST]),
        ([f"http://{HOST}/"], [HOST]),
        ([f"http://{HOST}/x"], [HOST]),
        ([f"http://{HOST}?x"], [HOST]),
        ([f"http://{HOST}#x"], [HOST]),
        ([f"http://user@{HOST}"], [HOST]),
        ([f"http://user:word@{HOST}"], [HOST]),
        ([f"http://{HOST}@evil.example"], [HOST]),
        ([f"http://{HOST}@evil.example"], [f"{HOST}@evil.example"]),
        ([f"http://user@{HOST}"], [f"user@{HOST}"]),
        (["http://127.0.0.1"], [HOST]),
        (["http://127.0.0.1:8081"], [HOST]),
        (["http://127.0.0.1:"], ["127.0.0.1:"]),
        (["http://127.0.0.1:443"], ["127.0.0.1"]),
        (["https://127.0.0.1"], ["127.0.0.1:80"]),
        (["http://localhost:8080"], [HOST]),
        (["http://127.0.0.1.evil.example:8080"], [HOST]),
        (["http://evil.example"], [HOST]),
        ([f"http://evil.example, http://{HOST}"], [HOST]),
        ([f"http://{HOST} http://evil.example"], [HOST]),
        ([f"http://{HOST}", "http://evil.example"], [HOST]),
        (["http://evil.example", f"http://{HOST}"], [HOST]),
        ([f"http://{HOST}", f"http://{HOST}"], [HOST]),
        ([f" http://{HOST}"], [HOST]),
        ([f"http://{HOST}\n"], [HOST]),
        ([f"http://{HOST}\0"], [HOST]),
        ([f"http://{HOST}"], []),
        ([f"http://{HOST}"], [""]),
        ([f"http://{HOST}"], [HOST, HOST]),
        ([f"http://{HOST}"], [HOST, "evil.example"]),
        (["http://["], ["["]),
        (["http://[::1"], ["[::1"]),
        (["http://[::1]:8080"], ["[0:0::1]:8080"]),
        # A name that could have been rebound to this address.
        (["http://evil.example:8080"], ["evil.example:8080"]),
        (["http://localhost.evil.example:8080"], ["localhost.evil.example:8080"]),
        (["http://127.0.0.1.evil.example"], ["127.0.0.1.evil.example"]),
        (["http://127.1:8080"], ["127.1:8080"]),
        (["http://node.example.:8080"], ["node.example.:8080"]),
        (["http://localhost\u0131:8080"], ["localhost\u0131:8080"]),
    ],
)
def test_any_other_page_is_refused(origins: list[str], hosts: list[str]) -> None:
    assert foreign_page_error(origins, hosts, OWN_NAMES) is not None


@pytest.mark.parametrize("host", [HOST, "evil.example", "", "x:y"])
def test_who_is_no_page_may_call(host: str) -> None:
    assert foreign_page_error([], [host], OWN_NAMES) is None


@pytest.mark.parametrize(
    ("site", "mode", "destination", "is_permitted"),
    [
        ("same-origin", "cors", "empty", True),
        ("none", "navigate", "document", True),  # typed by the reader
        ("none", "cors", "empty", True),
        ("cross-site", "navigate", "document", True),  # a link that the reader has followed
        ("cross-site", "navigate", "iframe", False),
        ("cross-site", "no-cors", "image", False),
        ("cross-site", "no-cors", "script", False),
        ("same-site", "no-cors", "image", False),
        ("same-site", "cors", "empty", False),
        ("cross-site", "", "", False),
        ("", "", "", False),
        ("SAME-ORIGIN", "cors", "empty", False),
    ],
)
def test_what_a_browser_says_of_a_fetch_without_origin_counts(
    site: str, mode: str, destination: str, is_permitted: bool
) -> None:
    assert (foreign_page_error([], [HOST], OWN_NAMES, (site, mode, destination)) is None) is is_permitted
