"""docs/operations.md names every reason, metric, variable and admin path, and none that is not."""

import re
from pathlib import Path

from prometheus_client import CollectorRegistry

from router.policy import Reason, Route
from router.settings import Settings
from router.telemetry.metrics import Metrics

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
WATCHED = (
    "router/service/readings.py",
    "router/process/following/steward.py",
    "router/telemetry/shipping.py",
)
READINGS = {
    name
    for path in WATCHED
    for name in re.findall(r'"(raisehand_\w+)",', (ROOT / path).read_text("utf-8"))
}


def _metrics():
    families = Metrics(CollectorRegistry()).registry.collect()
    counted = {f.name + ("_total" if f.type == "counter" else "") for f in families}
    return counted | READINGS


def test_every_route_and_reason_is_explained_and_no_other():
    """The two tables are the two enumerations."""
    [section] = re.findall(r"^## Who answered, and why\n(.*?)^## ", PAGE, flags=re.M | re.S)
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", section, flags=re.M)
    named = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)}
    named = {name for name in named if not name.startswith("raisehand")}
    assert named == {*map(str, Route), *map(str, Reason)}


def test_every_metric_is_explained_and_no_other():
    """The table of metrics is what `/metrics` shows."""
    named = set(re.findall(r"raisehand_\w+", PAGE))
    assert named == _metrics()


def test_every_variable_exists_with_its_default():
    """Variables of the page are fields of the settings, with the defaults that they have."""
    rows = re.findall(r"^\| `RAISEHAND_(\w+)` \| (\d+) \|", PAGE, flags=re.M)
    assert len(rows) >= 8
    for name, default in rows:
        assert Settings.model_fields[name.lower()].default == float(default), name
    for name in re.findall(r"RAISEHAND_(\w+)", PAGE):
        assert name.lower() in Settings.model_fields, name


PAGES = {("GET", "/"), ("GET", "/board")}
"""Of `router.process.board.routes`."""


def test_every_admin_path_exists():
    """Paths of the table are routes of the admin application, or of the page around it."""
    files = [ROOT / "router/process" / f"{name}.py" for name in ("admin", "candidate")]
    source = "".join(file.read_text(encoding="utf-8") for file in files)
    routes = {
        (method.upper(), path.replace("{name}", "NAME").replace("{page:path}", ""))
        for method, path in re.findall(r'@router\.(get|post|put)\("([^"]+)"', source)
    }
    assert set(re.findall(r"^\| `(GET|POST|PUT) (\S+)` \|", PAGE, flags=re.M)) == routes | PAGES


def test_every_command_exists():
    """Commands of the page are on the command line."""
    from router.cli import BENCHES, COMMANDS

    named = set(re.findall(r"raisehand ([a-z]+)", PAGE))
    assert named <= set(COMMANDS)
    assert set(re.findall(r"raisehand bench ([a-z]+)", PAGE)) <= set(BENCHES)
