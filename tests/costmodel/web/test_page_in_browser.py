"""The what-if page as a browser shows it: it fits, it reads out, it is what the docs picture."""

import threading

import pytest

from costmodel.inputs.taskfile import read_deployment
from costmodel.web.server import WhatIf, make_server

SIMULATED = "document.querySelector('#state')?.textContent.startsWith('simulated')"
CUT = """[...document.querySelectorAll(".table")]
  .filter(one => one.scrollWidth > one.clientWidth).map(one => one.ariaLabel)"""
"""Tables of which a part lies beside the screen."""
VIEWS = [("desktop", False), ("desktop", True), ("phone", False), ("phone", True)]


@pytest.fixture
def address(task_file):
    """Where the page of the fixture's deployment is served."""
    app = WhatIf(read_deployment(task_file))
    app.respond("simulate", "")  # compiled before the browser waits for it
    server = make_server(app, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


def test_axe_finds_no_fault_on_any_screen(address, chromium, screenshots):
    """Page and printable report, wide and narrow, light and dark; no script fails on the way."""
    for size, dark in VIEWS:
        tab = chromium.tab(size, dark)
        tab.open(address, until=SIMULATED)
        assert tab.faults() == []
        assert tab.wider_than_its_screen() == []
        assert tab.run(CUT) == []
        if (size == "phone") == dark:
            tab.screenshot(screenshots / "whatif" / f"{size}.png")
        tab.open(address + "report", until="document.querySelector('figure svg')")
        assert tab.faults() == []
        assert tab.wider_than_its_screen() == []
        assert tab.troubles == []


def test_a_control_is_moved_by_keyboard_alone(address, chromium):
    """Tab to the first box, type, leave it: the address and the verdict follow."""
    tab = chromium.tab()
    tab.open(address, until=SIMULATED)
    tab.run("document.querySelector('#controls input').select()")
    tab.type("2000000")
    tab.press("Tab")
    tab.wait("location.search.includes('per_day=2000000')")
    tab.wait(SIMULATED)
    assert tab.run("document.querySelector('#per_day-range').getAttribute('aria-valuetext')")
    assert tab.troubles == []


@pytest.mark.parametrize("query", ["per_day=abc", "per_day=", "foo=1", "per_day=1e12"])
def test_an_address_that_no_control_can_show_says_so(address, chromium, query):
    """A link is not answered by figures of something else; what is behind the page refuses too."""
    tab = chromium.tab()
    tab.open(f"{address}?{query}", until="document.querySelector('#alert')?.hidden === false")
    assert query.partition("=")[0] in tab.run("document.querySelector('#alert').textContent")
    assert tab.run("document.querySelector('#headlines').textContent") == ""


def test_a_value_said_twice_or_taken_away_is_what_is_behind_the_page(address, chromium):
    """The last of two counts, as behind the page; an emptied box is the file's value again."""
    tab = chromium.tab()
    tab.open(f"{address}?per_day=2000000&per_day=3000000", until=SIMULATED)
    assert tab.run("location.search") == "?per_day=3000000"
    box = "document.querySelector('#per_day')"
    tab.run(f"{box}.value = ''; {box}.dispatchEvent(new Event('change'))")
    tab.wait("location.search === ''")
    assert tab.run(f"{box}.value === {box}.dataset.default")
