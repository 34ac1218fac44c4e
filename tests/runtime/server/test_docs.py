"""The page of the routes: whole without a network, and true of what /openapi.json says."""

import re
from html.parser import HTMLParser


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found = []
        self.scripts = 0

    def handle_starttag(self, tag, attributes):
        self.scripts += tag == "script" and "src" not in dict(attributes)
        self.found += [value for name, value in attributes if name in ("src", "href")]


def test_the_page_and_all_that_it_needs_come_from_this_server(serve):
    client = serve(server={"api_key": "s3cret"})
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    links = Links()
    links.feed(page.text)
    assert links.found
    assert not links.scripts, "the policy forbids scripts inside the page"
    for link in links.found:
        assert not re.match(r"(?i)[a-z]+:|//|/", link), "only paths beside the page: they hold behind a proxy, too"
        answer = client.get(f"/{link}")
        assert answer.status_code == (401 if link == "openapi.json" else 200)
        assert not re.search(r"https?://", answer.text)
    assert client.get("/docs/other").status_code == 404
    assert client.get("/docs/..%2fdocs.py").status_code == 404


def test_a_browser_is_led_to_the_page_and_other_clients_hear_that_it_runs(serve):
    client = serve()
    led = client.get("/", headers={"accept": "text/html,*/*;q=0.8"})
    assert led.status_code == 307
    assert led.headers["location"] == "docs"
    assert client.get("/").text == "radixlang is running"


def test_head_tells_what_get_would(serve):
    client = serve()
    for path in ("/", "/docs", "/version"):
        head, get = client.request("HEAD", path), client.get(path)
        assert head.status_code == get.status_code == 200
        assert not head.content
        assert head.headers["content-length"] == get.headers["content-length"]
