"""The admin port."""

import asyncio
import base64
import json

import pytest

from costmodel.errors import BadProjection
from costmodel.inputs.deployment import CountTerms, Deployment, TeacherTerms, UsageTerms
from costmodel.money.pricing import PriceSpec
from costmodel.web.server import WhatIf
from router.errors import BadSettings
from router.policy import Route
from router.process.admin import create_admin
from router.process.board.maker import PageFiles
from router.process.following.steward import Steward
from router.settings import load_settings
from router.student.batcher import Batcher
from router.student.loaded import Model
from students.errors import BadBundle
from students.testing import ScriptedStudent

TOKEN = "a-token-of-some-length"
OTHER = "00000000000b"


class _Operator:
    """Whoever holds the token; bundles it may load are scripted students that say one label."""

    def __init__(self, made, request):
        self.made = made
        self.call = request
        self.loaded = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.app = create_admin(
            made.service, Steward(made.service, self._load), TOKEN, self._what_if,
            PageFiles([], None, None),
        )  # fmt: skip

    def _load(self, task, bundle):
        self.loaded.append(bundle)
        if bundle == "0000000000ff":
            raise BadBundle("the certificate is for other weights; distil again")
        student = ScriptedStudent(task.schema_, "urgent")
        return Model(bundle, student, (0.5, 0.5), Batcher(student))

    def _what_if(self, task, bundle):
        if bundle == OTHER:
            raise BadProjection("the bundle has no evaluation; distil again")
        price = PriceSpec(usd_per_mtok_input=2, usd_per_mtok_output=10)
        counts = CountTerms(n=1000, escalated=80, disagreements=20)
        usage = UsageTerms(input_tokens=30)
        teacher = TeacherTerms(price=price)
        return WhatIf(Deployment(name=task, teacher=teacher, evaluation=counts, usage=usage))

    async def __call__(self, method, path, body=None, token=TOKEN):
        payload = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        headers = [(b"authorization", b"Bearer " + token.encode())] if token else []
        return await self.call(self.app, method, path, [payload], headers)


@pytest.fixture
async def operator(rig, request_asgi):
    """An operator of a router whose student says calm, surely, of anything without 'help'."""
    return _Operator(await rig(), request_asgi)


async def _answer(operator, text="all is well"):
    response = await operator.made.post("/v1/classify", {"text": text})
    return response.json


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x"])
@pytest.mark.parametrize("path", ["/state", "/metrics", "/docs", "/openapi.json", "/nothing"])
async def test_without_the_token_nothing_is_shown(operator, path, token):
    """Every path of the admin port needs the token, also those that are not there."""
    assert (await operator("GET", path, token=token)).status == 401


async def test_state_says_what_every_task_is_doing(operator):
    """Bundle, thresholds, queue, teacher and drain in one document."""
    document = (await operator("GET", "/state")).json
    assert document["draining"] is False
    state = document["tasks"]["urgent"]
    assert (state["bundle"], state["previous"], state["canary"]) == ("bundle000001", None, None)
    assert (state["queue_depth"], state["teacher_inflight"], state["teacher_limit"]) == (0, 0, 8)


async def test_what_if_page(operator):
    """The what-if page of the bundle that answers is there, and projects when it is moved."""
    assert b"<input" in (await operator("GET", "/tasks/urgent/whatif/")).body
    path = "/tasks/urgent/whatif/project"
    assert (await operator("GET", path)).status == 200
    assert (await operator("GET", "/tasks/nothing/whatif/")).status == 404


async def test_what_if_of_a_bundle_that_says_too_little(operator):
    """A bundle without an evaluation gets a sentence, not an error page."""
    await operator("POST", "/tasks/urgent/bundle", {"bundle": OTHER})
    response = await operator("GET", "/tasks/urgent/whatif/")
    assert (response.status, b"distil again" in response.body) == (409, True)


async def test_a_browser_may_present_the_token_as_a_password(operator):
    """HTTP Basic with the token as password opens the port; with another password it does not."""
    for password, status in ((TOKEN, 200), ("wrong", 401)):
        basic = base64.b64encode(f"me:{password}".encode())
        headers = [(b"authorization", b"Basic " + basic)]
        response = await operator.call(operator.app, "GET", "/state", [b""], headers)
        assert response.status == status


async def test_swap_and_rollback(operator):
    """A swapped-in bundle answers at once; rolled back, the one before answers again."""
    response = await operator("POST", "/tasks/urgent/bundle", {"bundle": OTHER})
    assert (response.status, response.json["previous"]) == (200, "bundle000001")
    assert (await _answer(operator))["raisehand"]["bundle"] == OTHER
    response = await operator("POST", "/tasks/urgent/rollback")
    assert (response.status, response.json["bundle"]) == (200, "bundle000001")
    assert (await _answer(operator))["raisehand"]["bundle"] == "bundle000001"


async def test_every_command_may_come_twice(operator):
    """Tools ask again after a time-out: the bundle before stays the way back."""
    swap = ("POST", "/tasks/urgent/bundle", {"bundle": OTHER})
    for _ in range(2):
        response = await operator(*swap)
        assert (response.status, response.json["previous"]) == (200, "bundle000001")
    response = await operator("POST", "/tasks/urgent/canary", {"bundle": OTHER, "share": 0.1})
    assert response.status == 409
    response = await operator("POST", "/tasks/urgent/rollback")
    assert (response.json["bundle"], response.json["previous"]) == ("bundle000001", OTHER)
    await operator(*swap)
    assert operator.loaded == [OTHER]


async def test_swaps_under_load_fail_no_request(operator):
    """T20: while bundles are swapped and rolled back, every request gets its answer."""
    statuses = []

    async def keep_asking():
        for _ in range(100):
            response = await operator.made.post("/v1/classify", {"text": "all is well"})
            statuses.append(response.status)
            await asyncio.sleep(0)

    async def keep_swapping():
        for i in range(10):
            await operator("POST", "/tasks/urgent/bundle", {"bundle": f"{i:012x}"})
            await operator("POST", "/tasks/urgent/rollback")

    await asyncio.gather(*(keep_asking() for _ in range(4)), keep_swapping())
    assert statuses == [200] * 400


async def test_a_bundle_that_cannot_be_trusted_is_refused(operator):
    """The certificate does not match: 409 with the reason, and the old bundle goes on."""
    response = await operator("POST", "/tasks/urgent/bundle", {"bundle": "0000000000ff"})
    assert response.status == 409
    assert "other weights" in response.json["error"]["message"]
    assert (await _answer(operator))["raisehand"]["bundle"] == "bundle000001"


@pytest.mark.parametrize(
    "bundle", ["../../etc/passwd", "latest", "0" * 11, "0" * 13, "0" * 11 + "G", "", 12, None]
)
async def test_a_bundle_is_named_by_its_id_only(operator, bundle):
    """No path, no alias: twelve hex digits, or 400, and nothing is loaded."""
    response = await operator("POST", "/tasks/urgent/bundle", {"bundle": bundle})
    assert (response.status, operator.loaded) == (400, [])
    assert "bundle" in response.json["error"]["message"]


async def test_a_canary_answers_its_share_until_it_ends(operator):
    """A canary gets about its share; ended without promotion it gets nothing."""
    response = await operator("POST", "/tasks/urgent/canary", {"bundle": OTHER, "share": 0.5})
    assert (response.json["canary"], response.json["canary_share"]) == (OTHER, 0.5)
    bundles = [(await _answer(operator))["raisehand"]["bundle"] for _ in range(60)]
    assert 10 < bundles.count(OTHER) < 50
    again = await operator("POST", "/tasks/urgent/canary", {"bundle": OTHER, "share": 0.1})
    assert (again.status, again.json["canary_share"]) == (200, 0.1)
    third = {"bundle": OTHER[::-1], "share": 0.1}
    assert (await operator("POST", "/tasks/urgent/canary", third)).status == 409
    assert operator.loaded == [OTHER]
    response = await operator("POST", "/tasks/urgent/canary/end", {"promote": False})
    assert (response.json["bundle"], response.json["canary"]) == ("bundle000001", None)


async def test_the_threshold_can_only_ask_more(operator):
    """Raised above everything all is escalated; taken back or set to 0, the certificate rules."""
    for threshold, route in [(2.0, Route.TEACHER), (0.0, Route.STUDENT), (None, Route.STUDENT)]:
        response = await operator("PUT", "/tasks/urgent/threshold", {"threshold": threshold})
        assert response.status == 200
        assert (await _answer(operator))["raisehand"]["route"] == route
    await operator("PUT", "/tasks/urgent/threshold", {"threshold": 0.0})
    assert (await _answer(operator, "maybe"))["raisehand"]["route"] == Route.TEACHER


async def test_drain_makes_unready_and_back(operator):
    """A drained router is unready and still answers; it can be taken back."""
    await operator("PUT", "/drain", {"draining": True})
    assert (await operator.made.get("/readyz")).status == 503
    assert (await _answer(operator))["label"] == "calm"
    await operator("PUT", "/drain", {"draining": False})
    assert (await operator.made.get("/readyz")).status == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/tasks/none/rollback", None, 404),
        ("POST", "/tasks/urgent/rollback", None, 409),
        ("POST", "/tasks/urgent/canary/end", {"promote": True}, 409),
        ("POST", "/tasks/urgent/canary", {"bundle": OTHER, "share": 1.5}, 400),
        ("PUT", "/tasks/urgent/threshold", b'{"threshold": NaN}', 400),
        ("PUT", "/tasks/urgent/threshold", b'{"threshold": 1e999}', 400),
        ("PUT", "/tasks/urgent/threshold", b'{"threshold": "\\ud800"}', 400),
        ("PUT", "/tasks/urgent/threshold", {"threshold": -0.1}, 400),
        ("PUT", "/drain", b"{", 400),
        ("PUT", "/drain", {"draining": True, "more": 1}, 400),
        ("GET", "/nothing", None, 404),
        ("DELETE", "/state", None, 405),
    ],
)
async def test_mistakes_are_one_sentence_and_change_nothing(operator, method, path, body, status):
    """Wrong names, wrong moments and wrong values: 4xx, JSON, and no change."""
    before = (await operator("GET", "/state")).json
    response = await operator(method, path, body)
    assert response.status == status
    assert response.json["error"]["message"]
    assert (await operator("GET", "/state")).json == before


def test_a_short_token_stops_the_start_and_is_not_repeated(monkeypatch):
    """A token that could be guessed is refused; the message does not hold it."""
    monkeypatch.setenv("RAISEHAND_ADMIN_TOKEN", "hunter2")
    with pytest.raises(BadSettings, match="RAISEHAND_ADMIN_TOKEN") as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("RAISEHAND_ADMIN_TOKEN", TOKEN)
    assert TOKEN not in repr(load_settings())
