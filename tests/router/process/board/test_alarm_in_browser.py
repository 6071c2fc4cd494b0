"""An alarm as the page shows it, from healthy to healthy: the pictures of the documentation."""

import shutil
from collections.abc import Iterator
from itertools import count

import numpy as np
import pytest

from students.runtime.bundle import name_latest
from students.runtime.linear import LinearWeights
from students.runtime.load import load_student

pytestmark = pytest.mark.e2e
RUNGS = (0.95, 0.97, 0.985)
SCREEN = (1280, 1150)


@pytest.fixture
def watched(folder_of, publish_bundle, teacher):
    """A task whose student says calm to everything, now more and now less sure, and its ladder."""
    answers = {"mode": "classify", "base_url": teacher.url, "timeout_s": 5}
    folder = folder_of(answers, audit_rate=1.0)
    shutil.rmtree(folder / ".raisehand" / "bundles")
    chance = np.random.default_rng(0)
    logits = np.zeros((16, 2), np.float32)
    logits[:, 0] = chance.normal(0, 1.0, 16)
    weights = LinearWeights.of(
        3, 4, np.arange(16, dtype=np.int32), np.ones(16, np.float32), logits,
        np.array([4.5, 0.0], np.float32),
    )  # fmt: skip
    bundle = publish_bundle(folder, "calm", weights, RUNGS)
    name_latest(bundle.path.parent, bundle.id)
    return folder, load_student(bundle)


def test_from_healthy_to_healthy(serve, watched, signed_in, ask, state_of, token, screenshots):
    """Drift, an alarm, a raised threshold, and the certified one again, by evidence alone."""
    folder, student = watched
    router = serve("--admin-port", "0", at=folder, admin_token=token)
    tab = signed_in(router, SCREEN)
    usual = (f"the parcel {k} came today" for k in count())
    unknown = _unsure(student)

    def traffic(until, drifting, most=6_000):
        """Ask until the audits say so, then wait for nothing more."""
        for k in range(most):
            ask(router, next(unknown) if drifting and k % 4 == 0 else next(usual))
            if k % 4 == 3 and until(told := state_of(router)["tasks"]["urgent"]["audits"]):
                return
        raise AssertionError(told)

    def picture(number, name, when):
        tab.wait(when)
        tab.screenshot(screenshots / "alarm" / f"{number}-{name}.png", whole=number == 5)
        assert tab.faults() == []

    standing = "document.querySelector('[data-f=standing]').textContent"
    interval = "document.querySelector('[data-f=interval]').textContent"
    traffic(lambda told: told["audits"] >= 300, drifting=False)
    picture(1, "healthy", f"{interval}.includes(' 0 of ') && {standing} === ''")
    for _ in range(4):  # not until the state says so: it may lag behind a whole alarm
        ask(router, next(unknown))
    picture(2, "drift", f"!{interval}.includes(' 0 of ') && {standing} === ''")
    traffic(lambda told: told["status"] == "alarm", drifting=True)
    picture(3, "alarm", f"{standing}.includes('only the teacher answers')")
    assert not tab.run("document.querySelector('#alert').hidden")
    traffic(lambda told: told["status"] == "raised", drifting=True)
    picture(4, "raised", f"{standing}.startsWith('Raised by audits')")
    assert tab.run("document.querySelector('#alert').hidden")
    assert "raised" in tab.run("document.querySelector('#summary').textContent")
    traffic(lambda told: told["status"] == "watching", drifting=False)
    events = "document.querySelector('#event-rows').rows.length >= 3"
    picture(5, "healthy-again", f"{standing} === '' && {events}")
    assert tab.troubles == []


def _unsure(student) -> Iterator[str]:
    """Texts of another kind: the teacher calls them urgent, and the student is not that sure."""
    for start in count(step=200):
        texts = [f"drift {k * 7919} of the far unknown {k}" for k in range(start, start + 200)]
        for text, said in zip(texts, student.predict(texts), strict=True):
            if said.confidence < RUNGS[0]:
                yield text
