"""The page of the admin port, in a real browser, of a real router: sign in, look, act."""

import pytest

from students.runtime.bundle import name_latest

pytestmark = pytest.mark.e2e
VIEWS = (("desktop", False), ("phone", True), ("desktop", True), ("phone", False))


@pytest.fixture
def folder_with_two(folder_of, publish_bundle, teacher):
    """A task whose bundle agrees with its teacher, and another bundle that never does."""
    folder = folder_of(
        {"mode": "classify", "base_url": teacher.url, "timeout_s": 5}, audit_rate=0.2
    )
    other = next((folder / ".raisehand" / "bundles").glob("?" * 12)).name
    bundle = publish_bundle(folder, "calm")
    name_latest(bundle.path.parent, bundle.id)
    return folder, bundle.id, other


def test_sign_in_look_and_swap(
    serve, folder_with_two, signed_in, ask, state_of, token, chromium, screenshots
):
    """The token once; figures of every kind; axe-core on four screens; a swap by keyboard."""
    folder, bundle, other = folder_with_two
    router = serve("--admin-port", "0", at=folder, admin_token=token)
    tab = chromium.tab()
    tab.open(router.admin + "/", until="document.querySelector('#token')")
    assert tab.faults() == []
    tab.run("document.querySelector('#token').focus()")
    tab.type("a guess")
    tab.press("Enter")
    tab.wait("document.querySelector('#wrong:not([hidden])')")

    tab = signed_in(router)
    for k in range(1_500):
        ask(router, f"all is well {k}", **({"threshold": 1.0} if k % 10 == 0 else {}))
    for k in range(20):
        ask(router, f"it drifts {k}: drift")
    tab.wait("document.querySelector('#routes').rows.length === 2")
    tab.wait("document.querySelector('[data-f=interval]').textContent.includes(' audits differ')")
    tab.wait("document.querySelector('[data-f=paid] td')?.textContent === '1,520'")
    tab.wait("document.querySelector('[data-f=saved]').textContent.endsWith('saved this month')")
    assert tab.run("document.querySelector('[data-f=what-if]').href.includes('per_day=')")
    for size, dark in VIEWS:
        seen = tab if (size, dark) == VIEWS[0] else signed_in(router, size, dark)
        seen.wait("document.querySelector('#routes').rows.length === 2")
        assert seen.faults() == []
        assert seen.wider_than_its_screen() == []
        assert seen.troubles == []
        if (size == "phone") == dark:
            seen.screenshot(screenshots / "board" / f"{size}.png")

    tab.wait("document.querySelector('[data-f=suspects] tbody')?.rows.length > 0")
    suspect = "document.querySelector('[data-f=suspects] tbody').rows[0]"
    assert tab.run(f"{suspect}.cells[4].textContent") == "urgent"
    assert "drift" not in tab.run("document.body.innerText"), "a text of a request is on the page"
    tab.run("document.querySelector('[data-act=bundle]').focus()")
    tab.press("Enter")
    tab.wait("document.querySelector('dialog').open")
    assert tab.faults() == []
    tab.press("Escape")
    tab.wait("!document.querySelector('dialog').open")
    assert state_of(router)["tasks"]["urgent"]["bundle"] == bundle
    tab.press("Enter")
    tab.wait("document.querySelector('dialog').open")
    tab.screenshot(screenshots / "board" / "swap.png", whole=False)
    tab.run("document.querySelector('#confirm-yes').focus()")
    tab.press("Enter")
    tab.wait(f"document.querySelector('#done').textContent === '{other} answers urgent.'")
    assert state_of(router)["tasks"]["urgent"]["bundle"] == other
    tab.wait(f"document.querySelector('[data-f=bundle]').innerText.includes('{other}')")
    tab.wait("document.querySelector('#event-rows')?.innerText.includes('operator: bundle')")
    assert tab.troubles == []
    tab.run("document.querySelector('[action=logout] button').click()")
    tab.wait("document.querySelector('#token')")
    assert router.stop() == 0


def test_workers_are_one_and_a_refusal_is_said(
    serve, folder_with_two, signed_in, ask, state_of, token
):
    """Two workers' counts are added up; a drain reaches both; what is refused says why."""
    folder, _, other = folder_with_two
    router = serve("--admin-port", "0", "--workers", "2", at=folder, admin_token=token)
    tab = signed_in(router)
    tab.wait("document.querySelector('#summary').textContent.includes('2 workers serve')")
    for k in range(60):
        ask(router, f"all is well {k}")
    tab.wait("document.querySelector('[data-f=paid] td')?.textContent === '60'")
    tab.run("document.querySelector('#drain').click()")
    tab.run("document.querySelector('#confirm-yes').click()")
    tab.wait("document.querySelector('#summary').textContent.includes('It drains')")
    tab.wait("document.querySelector('#event-rows')?.innerText.includes('operator: drain')")
    assert tab.run("document.querySelector('#event-rows').rows.length") == 1
    assert [worker["draining"] for worker in state_of(router)["workers"]] == [True, True]
    (folder / ".raisehand" / "bundles" / other / "weights.safetensors").write_bytes(b"altered")
    tab.run("document.querySelector('[data-act=bundle]').click()")
    tab.wait("document.querySelector('#chosen').options.length === 1")
    tab.run("document.querySelector('#confirm-yes').click()")
    tab.wait("!document.querySelector('#refusal').hidden")
    assert other in tab.run("document.querySelector('#refusal').textContent")
    assert router.stop() == 0  # the open page does not keep it
