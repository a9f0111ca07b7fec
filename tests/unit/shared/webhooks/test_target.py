"""The URL of a webhook."""

from __future__ import annotations

import pytest
from holdfast.shared.errors import RequestInvalid
from holdfast.shared.webhooks.addresses import parse_networks
from holdfast.shared.webhooks.target import MAX_URL_BYTES, Target, parse_target


@pytest.mark.parametrize(
    ("url", "target", "authority"),
    [
        ("https://example.com", Target("https", "example.com", 443, "/"), "example.com"),
        ("https://EXAMPLE.com:8443/a?b=c", Target("https", "example.com", 8443, "/a?b=c"), "example.com:8443"),
        ("https://xn--bcher-kva.example/", Target("https", "xn--bcher-kva.example", 443, "/"), "xn--bcher-kva.example"),
        ("https://8.8.8.8/", Target("https", "8.8.8.8", 443, "/"), "8.8.8.8"),
        ("https://[2606:4700::1111]:80/", Target("https", "2606:4700::1111", 80, "/"), "[2606:4700::1111]:80"),
    ],
)
def test_the_parts_of_a_url(url: str, target: Target, authority: str) -> None:
    assert parse_target(url, ()) == target
    assert target.authority == authority


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        *((url, "must begin with https://") for url in ("http://example.com/", "ftp://a.example/", "example.com")),
        *((url, "user name") for url in ("https://a@example.com/", "https://a:b@example.com/", "https://@a.example/")),
        *((url, "fragment") for url in ("https://example.com/#a", "https://example.com/#")),
        *((url, "port") for url in ("https://example.com:22/", "https://example.com:1023/", "https://example.com:0/")),
        *((url, "a URL such as") for url in ("https://example.com:x/", "https://example.com:70000/", "https://[::1/")),
        *(
            (url, "printable ASCII")
            for url in ("", "https://exämple.com/", "https://a.example/ b", "https://a\n.example")
        ),
        ("https://a.example/\\b", "printable ASCII"),
        (f"https://a.example/{'a' * MAX_URL_BYTES}", f"{MAX_URL_BYTES} printable"),
        *((url, "private or reserved") for url in ("https://127.0.0.1/", "https://[::1]/", "https://169.254.169.254/")),
        ("https://[::ffff:10.0.0.1]/", "private or reserved"),
        *((url, "IPv6 address only") for url in ("https://[v1.x]/", "https://[v1.example]:8443/")),
        ("https://[fe80::1%25eth0]/", "private or reserved"),
        *(
            (url, "host name")
            for url in ("https:///a", "https://a..example/", "https://-a.example/", "https://%61.example/")
        ),
        *(
            (url, "host name")
            for url in ("https://2130706433/", "https://0x7f.1/", "https://127.1/", "https://a.0x7f./")
        ),
    ],
)
def test_a_url_that_is_not_allowed_is_refused_with_its_field(url: str, allowed: str) -> None:
    with pytest.raises(RequestInvalid, match=allowed) as refused:
        parse_target(url, ())
    assert refused.value.field == "webhook.url"


def test_the_setting_allows_http_and_its_networks() -> None:
    networks = parse_networks("127.0.0.0/8")
    assert parse_target("http://127.0.0.1:8080/a", networks) == Target("http", "127.0.0.1", 8080, "/a")
    with pytest.raises(RequestInvalid):
        parse_target("http://10.0.0.1/", networks)
