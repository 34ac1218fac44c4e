"""The page in a real browser: what a person sees is what the API says, and nothing else is asked of any other host."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from urllib.parse import urlsplit

import httpx
import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
_START = """
import fcntl, os, sys
ours = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 20) for fd in sys.argv[1:3]]
os.dup2(ours[0], 3)
os.dup2(ours[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""

_KEPT = """async (length) => {
  const done = (asked) => new Promise((give) => { asked.onsuccess = () => give(asked.result); });
  const shelf = await done(indexedDB.open("radixlang", 1));
  const kept = await done(shelf.transaction("conversations").objectStore("conversations").getAll());
  shelf.close();
  return kept.some((one) => one.messages.some((message) => message.isRunning && message.text.length > length));
}"""
"""Whether an answer that runs is kept so far."""


class Page:
    """One tab, driven by the DevTools protocol over a pipe."""

    def __init__(self, folder):
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--window-size=1200,900"]
        quiet = [
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ]
        command = [CHROMIUM, *options, *quiet, f"--user-data-dir={folder}", "--remote-debugging-pipe", "about:blank"]
        starter = [sys.executable, "-c", _START, str(to_browser), str(from_browser), *command]
        log = (folder.parent / "chromium.log").open("wb")
        self.process = subprocess.Popen(starter, pass_fds=(to_browser, from_browser), stdout=log, stderr=log)
        log.close()
        os.close(to_browser)
        os.close(from_browser)
        self._rest, self._number, self.session = b"", 0, None
        self.requested, self.problems = [], []

    def open(self, url):
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")
        self.ask("Page.navigate", url=url)

    def _message(self):
        while b"\0" not in self._rest:
            piece = os.read(self._in, 1 << 16)
            assert piece, "the browser ended"
            self._rest += piece
        raw, self._rest = self._rest.split(b"\0", 1)
        return json.loads(raw)

    def ask(self, method, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            told = self._message()
            if told.get("id") == self._number:
                assert "error" not in told, told
                return told["result"]
            params = told.get("params", {})
            if told.get("method") == "Network.requestWillBeSent":
                self.requested.append(params["request"]["url"])
            elif told.get("method") == "Runtime.exceptionThrown":
                self.problems.append(params["exceptionDetails"])
            elif told.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
                self.problems.append(params["entry"])

    def run(self, script):
        """The value of an expression, promises awaited."""
        told = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def until(self, script, seconds=60):
        deadline = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < deadline, (script, self.run("document.body.innerText"), self.problems)
            time.sleep(0.05)
        return value

    def set(self, name, value):
        self.run(
            f"(() => {{ const e = document.getElementById({name!r}); e.value = {json.dumps(value)};"
            " e.dispatchEvent(new Event('input', {bubbles: true})); })()"
        )

    def say(self, text):
        """Sends a message; returns when its answer is whole."""
        before = self.run("document.querySelectorAll('[data-testid=facts]').length")
        self.set("prompt", text)
        self.run("document.getElementById('send').click()")
        self.until(f"document.querySelectorAll('[data-testid=facts]').length > {before}")

    def text(self, selector):
        return self.run(f"[...document.querySelectorAll({json.dumps(selector)})].at(-1)?.textContent")

    def close(self):
        self.process.kill()
        self.process.wait()
        for fd in (self._in, self._out):
            with contextlib.suppress(OSError):
                os.close(fd)


@pytest.fixture
def page(tmp_path, server_url):
    opened = Page(tmp_path / "profile")
    try:
        opened.open(server_url)
        opened.until("document.getElementById('state')?.textContent.startsWith('ready')")
        yield opened
        assert not opened.problems
        ours = urlsplit(server_url).netloc
        others = [url for url in opened.requested if urlsplit(url).netloc not in ("", ours)]
        assert not others
    finally:
        opened.close()


def test_an_answer_streams_in_and_is_what_the_api_says(page, server_url):
    page.run("window.seen = 0; new MutationObserver(() => seen++).observe(log, {childList: true, subtree: true})")
    page.set("temperature", "0")
    page.set("max_tokens", "24")
    page.set("system", "You answer in one sentence.")
    page.say("What is the capital of France?")
    assert page.run("seen") >= 3
    turns = [
        {"role": "system", "content": "You answer in one sentence."},
        {"role": "user", "content": "What is the capital of France?"},
    ]
    asked = {"messages": turns, "temperature": 0, "max_tokens": 24}
    told = httpx.post(f"{server_url}/v1/chat/completions", json=asked, timeout=60, trust_env=False).json()
    assert page.text("article.assistant .text").split() == told["choices"][0]["message"]["content"].split()
    page.run("document.getElementById('tokens').click()")
    page.run("[...document.querySelectorAll('article.assistant button')].find(b => b.textContent === 'Again').click()")
    page.until("document.querySelector('[data-testid=token-view]') && document.getElementById('stop').hidden")
    spans = page.run("[...document.querySelectorAll('[data-testid=token-view] span')].map(s => s.textContent)")
    again = httpx.post(f"{server_url}/v1/chat/completions", json=asked, timeout=60, trust_env=False).json()
    assert "".join(spans) == again["choices"][0]["message"]["content"]
    assert page.text(".siblings") == "‹2/2›"
    # another token instead of the first: the answer begins with it
    page.run("document.querySelector('[data-testid=token-view] span').click()")
    rival = page.until("document.querySelectorAll('.choices button')[1]?.textContent")
    page.run("document.querySelectorAll('.choices button')[1].click()")
    page.until("document.getElementById('stop').hidden && document.querySelector('.siblings')?.textContent === '‹3/3›'")
    assert page.text("article.assistant .text").startswith(rival.rsplit(" ", 2)[0].strip())


def test_stop_ends_the_request_and_a_reload_goes_on_with_an_answer(page, server_url):
    page.set("max_tokens", "4000")
    page.run("document.getElementById('kind').value = 'regex'")
    page.set("grammar", "(a|b){9000}")
    page.set("prompt", "Write.")
    page.run("document.getElementById('send').click()")
    length = page.until("(document.querySelector('article.assistant .text')?.textContent.length || 0) > 20")
    page.until(f"({_KEPT})(20)")
    page.ask("Page.reload")
    page.until("document.getElementById('state')?.textContent.startsWith('ready')")
    length = page.until("document.querySelector('article.assistant .text')?.textContent.length || 0")
    page.until(f"document.querySelector('article.assistant .text').textContent.length > {length}")
    page.run("document.getElementById('stop').click()")
    page.until("document.getElementById('stop').hidden")
    deadline = time.monotonic() + 20
    while httpx.get(f"{server_url}/v1/loads", trust_env=False).json()["loads"][0]["num_total_reqs"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_markup_stays_text_and_constraints_are_checked_as_they_are_written(page):
    page.set("max_tokens", "30")
    page.run("document.getElementById('kind').value = 'regex'")
    page.set("grammar", "<img src=x onerror=alert\\(1\\)>")
    page.until("document.getElementById('verdict').textContent.startsWith('Can be served')")
    page.say("<script>alert(1)</script>")
    assert page.text("article.assistant .text") == "<img src=x onerror=alert(1)>"
    assert page.text("article.user .text") == "<script>alert(1)</script>"
    assert page.run("document.querySelectorAll('#log img, #log script').length") == 0
    page.run("document.getElementById('kind').value = 'json_schema'")
    impossible = {"type": "string", "minLength": 5, "maxLength": 2}
    page.set("grammar", json.dumps({"type": "object", "properties": {"a": impossible}, "required": ["a"]}))
    page.until("document.getElementById('verdict').textContent.includes('properties.a')")


def test_the_cache_shows_what_was_just_sent_and_nothing_leaves_a_narrow_screen(page, server_url):
    prompt = "A quick zebra of the north counts seven lamps"
    sent = {"text": prompt, "sampling_params": {"max_new_tokens": 1, "temperature": 0}}
    assert httpx.post(f"{server_url}/generate", json=sent, timeout=60, trust_env=False).status_code == 200
    found = httpx.post(f"{server_url}/v1/cache/lookup", json={"text": prompt}, trust_env=False).json()
    page.run("document.getElementById('tab-cache').click()")
    shown = page.until(
        "(() => { const n = [...document.querySelectorAll('[data-testid=node]')]"
        ".find(n => n.querySelector('code').textContent.includes('zebra')); return n && Number(n.dataset.tokens); })()"
    )
    assert 0 < shown <= found["cached_tokens"] + 1
    page.run("document.getElementById('tab-chat').click()")
    page.ask("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True)
    assert page.run("document.documentElement.scrollWidth") <= 390
    unnamed = page.run(
        "[...document.querySelectorAll('input, textarea, select')].filter(e => !e.labels.length && !e.ariaLabel)"
        ".map(e => e.id)"
    )
    assert unnamed == []
