"""A router with a page: a teacher that answers by the text, traffic of every route, a browser."""

import asyncio
import json
import threading
import urllib.request

import pytest

from router.testing import FaultServer
from tests.waiting import PATIENCE_S

TOKEN = "the-operators-own-token"


class _ByText(FaultServer):
    """Says the second label to what holds the word 'drift', else the first."""

    def _classified(self, fault, body):
        told = json.loads(super()._classified(fault, body))
        if b"drift" in body:
            told["data"][0]["probs"].reverse()
            told["data"][0]["label"] = self.labels[1]
        return json.dumps(told).encode()


@pytest.fixture
def teacher():
    """A teacher's address, served from a thread of its own."""
    loop, server = asyncio.new_event_loop(), _ByText(["NO", "YES"])
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result()
    yield server
    asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


@pytest.fixture
def ask():
    """Ask a router: a text, and what else the body holds."""

    def post(router, text, **fields):
        body = json.dumps({"text": text, **fields}).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(router.url + "/v1/classify", body, headers)
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:
            return json.load(reply)

    return post


@pytest.fixture
def state_of():
    """What a router's admin port says of itself."""

    def read(router):
        request = urllib.request.Request(router.admin + "/state")
        request.add_header("authorization", f"Bearer {TOKEN}")
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:
            return json.load(reply)

    return read


@pytest.fixture
def signed_in(chromium):
    """Open a router's page in a new tab, as an operator does: by the token, once."""

    def open_page(router, size="desktop", dark=False):
        tab = chromium.tab(size, dark)
        tab.open(router.admin + "/", until="document.querySelector('#token')")
        tab.run("document.querySelector('#token').focus()")
        tab.type(TOKEN)
        tab.press("Enter")
        tab.wait("document.querySelector('article h2')")
        return tab

    return open_page


@pytest.fixture
def token():
    """The operators'."""
    return TOKEN
