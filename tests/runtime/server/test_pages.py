"""The pages: whole without a network, and true of what /openapi.json says."""

import re
from html.parser import HTMLParser

import pytest


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found = []
        self.inline = 0

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.inline += (tag == "script" and "src" not in given) or tag == "style" or "style" in given
        self.found += [value for name, value in attributes if name in ("src", "href") and value != "data:,"]


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_and_all_that_it_needs_come_from_this_server(serve, path):
    client = serve(server={"api_key": "s3cret"})
    page = client.get(path, headers={"accept": "text/html,*/*;q=0.8"})
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    links = Links()
    links.feed(page.text)
    waiting = [f"/{link}" for link in links.found]
    assert waiting
    assert not links.inline, "the policy forbids what lies inside the page"
    seen = set()
    while waiting:
        link = waiting.pop()
        assert re.fullmatch(r"/[a-z/]+(\.[a-z]+)?", link), "only paths beside the page: they hold behind a proxy, too"
        if link in seen:
            continue
        seen.add(link)
        answer = client.get(link)
        assert answer.status_code == (401 if link == "/openapi.json" else 200), link
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)\w", answer.text), link
        imports = re.findall(r'from "\./([^"]+)"', answer.text)
        waiting += [link.rsplit("/", 1)[0] + "/" + name for name in imports]
    assert client.get("/docs/other").status_code == 404
    assert client.get("/docs/..%2fpages.py").status_code == 404
    assert client.get("/ui/page.html").status_code == 404


def test_a_browser_gets_the_page_and_other_clients_hear_that_it_runs(serve):
    client = serve()
    accepts = {"accept": "text/html,*/*;q=0.8"}
    assert "<!doctype html>" in client.get("/", headers=accepts).text
    assert client.get("/").text == "radixlang is running"
    without = serve(server={"no_ui": True})
    assert without.get("/", headers=accepts).text == "radixlang is running"
    assert without.get("/ui/main.js").status_code == 404


def test_every_control_that_the_scripts_reach_for_is_on_the_page(serve):
    client = serve()
    page = client.get("/", headers={"accept": "text/html"}).text
    ids = set(re.findall(r'id="([^"]+)"', page))
    for name in ("main", "chat", "cache", "settings", "api"):
        script = client.get(f"/ui/{name}.js").text
        for wanted in re.findall(r'(?:byId|getElementById)\("([^"$]+)"\)', script):
            assert wanted in ids, (name, wanted)
    for label in re.findall(r'for="([^"]+)"', page):
        assert label in ids


def test_head_tells_what_get_would(serve):
    client = serve()
    for path in ("/", "/docs", "/version"):
        head, get = client.request("HEAD", path), client.get(path)
        assert head.status_code == get.status_code == 200
        assert not head.content
        assert head.headers["content-length"] == get.headers["content-length"]
