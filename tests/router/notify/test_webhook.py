"""One event to one receiver: what is sent, and what counts as taken."""

from __future__ import annotations

import hashlib
import hmac
import json
import ssl
import subprocess

import aiohttp
import pytest
from pydantic import ValidationError

from router.errors import BadSettings
from router.notify import webhook
from router.notify.webhook import Webhook, slack
from router.shared.records import Event
from students.sections import WebhookSection

EVENT = Event(
    id=7,
    at=1_764_000_000.25,
    task="urgent",
    bundle="0123456789ab",
    kind="verdict",
    reason="promise_broken",
    actor="host/0",
    figures={"audits": 43, "disagreement": 0.15117, "status": "<alarm>", "none": None},
)


async def deliver(task, section, environment=None):
    """Send the event once."""
    async with aiohttp.ClientSession() as session:
        return await Webhook(task, section, environment or {}).deliver(session, EVENT)


async def test_a_program_gets_the_whole_event_signed(receive, task):
    """Id, figures and runbook; the signature is of the very bytes."""
    receiver = await receive()
    section = WebhookSection(url=receiver.url, secret_env="HOOK_SECRET")
    assert await deliver(task, section, {"HOOK_SECRET": "s3cret"}) is None
    [said] = receiver.taken
    assert said["id"] == receiver.heads[0]["x-raisehand-event"] == "urgent-7-1764000000250"
    assert (said["kind"], said["reason"], said["figures"]["audits"]) == (
        "verdict", "promise_broken", 43,
    )  # fmt: skip
    assert said["runbook"].startswith("https://")
    digest = hmac.new(b"s3cret", receiver.bodies[0], hashlib.sha256).hexdigest()
    assert receiver.heads[0]["x-raisehand-signature"] == f"sha256={digest}"


async def test_a_companys_proxy_carries_it_and_no_netrc_does(receive, task, monkeypatch, tmp_path):
    """HTTP_PROXY holds; what ~/.netrc has for a host is not sent to a receiver."""
    proxy = await receive()
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password secret\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    assert await deliver(task, WebhookSection(url="http://hooks.example/it")) is None
    [head] = proxy.heads
    assert head["host"] == "hooks.example"
    assert "authorization" not in head
    monkeypatch.setenv("HTTP_PROXY", "http://[proxy")
    said = await deliver(task, WebhookSection(url="http://hooks.example/it"))
    assert said.startswith("HTTP_PROXY in the environment is no address")


async def test_people_get_a_sentence(receive, task):
    """Slack's form, with its markup taken out of what was not written here."""
    receiver = await receive()
    section = WebhookSection(kind="slack", url_env="SLACK_URL")
    assert await deliver(task, section, {"SLACK_URL": receiver.url}) is None
    [said] = receiver.taken
    assert set(said) == {"text"}
    assert "*urgent*: promise broken" in said["text"]
    assert "audits 43, disagreement 0.1512, status &lt;alarm&gt;" in said["text"]
    assert said == slack(EVENT)


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ({"statuses": [500]}, "it answered 500"),
        ({"statuses": [404]}, "it answered 404"),
        ({"statuses": [307]}, "it answered 307"),
        ({"slow_s": 5.0}, "did not answer within 0.2 s"),
    ],
)
async def test_what_is_not_taken_says_why(receive, task, monkeypatch, behaviour, words):
    """An error, a redirect elsewhere, no answer in time: none of them is a receipt."""
    monkeypatch.setattr(webhook, "ANSWER_S", 0.2)
    receiver = await receive(**behaviour)
    fault = await deliver(task, WebhookSection(url=receiver.url))
    assert words in fault
    assert len(receiver.bodies) == 1


async def test_nobody_there_and_a_bad_certificate(receive, task, tmp_path, free_port_of):
    """A closed port; a certificate that nobody vouches for: nothing is said to whoever has it."""
    gone = WebhookSection(url=f"http://127.0.0.1:{free_port_of()}/")
    assert "cannot be reached" in await deliver(task, gone)
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj",
         "/CN=127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    receiver = await receive(ssl_context=context)
    assert "certificate" in await deliver(task, WebhookSection(url=receiver.url))
    assert receiver.bodies == []


def test_what_is_missing_stops_the_start(task):
    """A variable that is not set, an address that is none, none at all or two."""
    with pytest.raises(BadSettings, match="variable SLACK_URL, which is not set"):
        Webhook(task, WebhookSection(url_env="SLACK_URL"), {})
    with pytest.raises(BadSettings, match=r"SLACK_URL\) is no https"):
        Webhook(task, WebhookSection(url_env="SLACK_URL"), {"SLACK_URL": "hooks.example.com"})
    for given in ({}, {"url": "http://127.0.0.1/", "url_env": "X"}):
        with pytest.raises(ValidationError, match="not both"):
            WebhookSection(**given)


def test_an_address_is_shown_as_its_host_only(task):
    """With Slack the path is the secret."""
    hook = Webhook(task, WebhookSection(url_env="X"), {"X": "https://hooks.slack.com/T0/B0/s3cret"})
    assert hook.host == "hooks.slack.com"
    assert "s3cret" not in json.dumps([hook.host, hook.name])


def test_only_its_kinds_and_its_task(task):
    """A receiver hears what it asked for."""
    hook = Webhook(task, WebhookSection(url="http://127.0.0.1/", events=["promotion"]), {})
    other = Webhook(task, WebhookSection(url="http://127.0.0.1/"), {})
    assert (hook.wants(EVENT), other.wants(EVENT)) == (False, True)
    assert not other.wants(
        Event(**{f: getattr(EVENT, f) for f in EVENT.__struct_fields__} | {"task": "x"})
    )
