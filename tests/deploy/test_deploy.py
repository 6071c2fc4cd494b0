"""What is shipped for running a fleet is read by the tools that would run it."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from loadtests.compare.remote_write import series_of
from loadtests.compare.results import read_results
from router.commands.serve import serve

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = "1.31"


def _tool(name):
    where = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if where is None:
        pytest.skip(f"no {name} is installed")
    return where


def _run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("folder", ["base", "overlays/production"])
def test_manifests_build_and_are_valid(folder):
    """Kustomize builds them, and each object is what its API takes, nothing unknown in it."""
    import kubernetes_validate

    built = _run(_tool("kubectl"), "kustomize", str(DEPLOY / "kubernetes" / folder))
    objects = list(yaml.safe_load_all(built))
    assert {o["kind"] for o in objects} >= {"Deployment", "Service", "NetworkPolicy"}
    for one in objects:
        kubernetes_validate.validate(one, KUBERNETES, strict=True)


def test_rules_are_prometheus_own():
    """Promtool reads them, every alert fires where it should and is silent where not."""
    promtool, folder = _tool("promtool"), DEPLOY / "prometheus"
    _run(promtool, "check", "rules", "recording.yml", "alerts.yml", cwd=folder)
    _run(promtool, "test", "rules", "alerts_test.yml", cwd=folder)
    tested = yaml.safe_load((folder / "alerts_test.yml").read_text("utf-8"))["tests"]
    cases = [(c["alertname"], bool(c["exp_alerts"])) for t in tested for c in t["alert_rule_test"]]
    names = {rule["alert"] for rule in _alerts()}
    assert {n for n, fires in cases if fires} == names == {n for n, fires in cases if not fires}


def test_prometheus_reads_its_file():
    """The scrape's own configuration, but for the key file that each site makes."""
    said = _run(
        _tool("promtool"), "check", "config", "--syntax-only", DEPLOY / "prometheus/prometheus.yml"
    )
    assert "SUCCESS" in said


def test_haproxy_reads_its_file():
    """Two routers behind one address."""
    env = {"RAISEHAND_BIND": "127.0.0.1:1", "RAISEHAND_ONE": "127.0.0.1:2"}
    env["RAISEHAND_TWO"] = "127.0.0.1:3"
    _run(_tool("haproxy"), "-c", "-f", DEPLOY / "haproxy.cfg", env=env)


def test_systemd_reads_the_unit(tmp_path):
    """With the program in the place of one that is installed."""
    unit = (DEPLOY / "raisehand.service").read_text("utf-8")
    path = tmp_path / "raisehand.service"
    path.write_text(re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", unit), "utf-8")
    done = subprocess.run(
        [_tool("systemd-analyze"), "verify", path], capture_output=True, text=True
    )
    assert "raisehand.service" not in done.stderr, done.stderr


@pytest.mark.parametrize("name", ["compose.yaml", "grafana/provider.yaml"])
def test_yaml_is_yaml(name):
    """What no tool at hand reads is at least what it is meant to be."""
    assert yaml.safe_load((DEPLOY / name).read_text("utf-8"))


def test_options_that_are_passed_exist():
    """Image, compose, manifests and unit start the command as it is."""
    known = set(re.findall(r"--[a-z-]+", CliRunner().invoke(serve, ["--help"]).output))
    files = ("Dockerfile", "compose.yaml", "raisehand.service", "kubernetes/base/deployment.yaml")
    words = {
        "Dockerfile": r'"(--[a-z-]+)"',
        "compose.yaml": r"(?<=[\[ ])(--[a-z-]+)",
        "raisehand.service": r" (--[a-z-]+)",
        "kubernetes/base/deployment.yaml": r"(?<=[\[ ])(--[a-z-]+)",
    }
    for name in files:
        passed = set(re.findall(words[name], (DEPLOY / name).read_text("utf-8")))
        assert passed
        assert passed <= known, name


def test_the_image_has_every_package():
    """Each package of the wheel is copied into the build, and what .dockerignore lets in exists."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    copied = re.findall(r"^COPY (.+) \S+$", (DEPLOY / "Dockerfile").read_text("utf-8"), flags=re.M)
    sources = {word for line in copied if not line.startswith("--from") for word in line.split()}
    assert set(packages) <= sources
    allowed = re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text("utf-8"), flags=re.M)
    assert sources == set(allowed)
    assert all((ROOT / name).exists() for name in allowed)


def test_each_target_installs_extras_that_exist_and_the_default_no_torch():
    """The last target is what is built when none is named."""
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
        "optional-dependencies"
    ]
    built = dict(re.findall(r"AS build-(\w+)\nARG EXTRAS=(\S+)", text))
    assert set(built) == {"serve", "cpu", "cuda"}
    brought = {
        target: {line for extra in names.split(",") for line in extras[extra]}
        for target, names in built.items()
    }
    torch = {target for target, lines in brought.items() if any("torch" in x for x in lines)}
    assert torch == {"cpu", "cuda"}
    assert re.findall(r"^FROM .* AS (\S+)$", text, flags=re.M)[-1] == "serve"


def test_routers_of_compose_may_write_where_they_must():
    """The task is copied from where it is read only; its volumes are its user's and its own."""
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]
    owned = re.search(
        r"install -d -o 10001 (.+)$", (DEPLOY / "Dockerfile").read_text("utf-8"), re.M
    )
    seen = set()
    for name in ("router-one", "router-two"):
        assert services[name]["read_only"]
        mounts = dict(reversed(one.split(":")[:2]) for one in services[name]["volumes"])
        assert "../task:/source:ro" in services[name]["volumes"]
        assert set(owned[1].split()) == {"/task", "/ledger"}
        named = {mounts["/task"], mounts["/ledger"]}
        assert not seen & named
        seen |= named
    volumes = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["volumes"]
    assert seen <= set(volumes)


def test_a_router_of_compose_starts_on_a_copy_of_the_task(tmp_path):
    """Its shell step is run, again after a restart: what it wrote beside the task stays."""
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]["router-one"]
    source, task = tmp_path / "source", tmp_path / "task"
    for folder in (source / "bundles", task, tmp_path / "bin"):
        folder.mkdir(parents=True)
    (source / "bundles" / "latest").write_text("0123456789ab\n")
    command = tmp_path / "bin" / "raisehand"
    command.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    command.chmod(0o755)
    (source / "task.yaml").write_text("name: x\n")
    step = [word.replace("$$", "$") for word in service["entrypoint"]]
    step = [word.replace("/source", str(source)).replace("/task", str(task)) for word in step]
    for _ in range(2):
        environment = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}
        words = _run(*step, *service["command"], env=environment).split()
        assert words == ["serve", "--host", "0.0.0.0", "--port", "8080", *service["command"]]
        assert (task / "bundles" / "latest").read_text() == "0123456789ab\n"
        (task / "shared.sqlite").touch()
    assert (task / "shared.sqlite").exists()


def test_every_metric_that_is_watched_exists():
    """A panel or an alert on a metric that nobody emits would be green for ever."""
    emitted = _emitted()
    for path in (*DEPLOY.glob("prometheus/*.yml"), *DEPLOY.glob("grafana/*.json")):
        text = path.read_text("utf-8")
        for name in set(re.findall(r"(?<![:\w])raisehand_[a-z0-9_]+", text)):
            plain = re.sub(r"_(bucket|sum|count)$", "", name)
            assert {name, plain} & emitted, f"{path.name}: {name}"


def test_every_alert_has_its_runbook():
    """The link leads to a heading of the page."""
    page = (ROOT / "docs/operations.md").read_text("utf-8")
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-")
        for h in re.findall(r"^#+ (.+)$", page, flags=re.M)
    }
    for rule in _alerts():
        path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert path == "docs/operations.md"
        assert anchor in anchors, rule["alert"]
        assert rule["labels"]["severity"] in ("page", "ticket")


def test_every_panel_can_be_read():
    """Title, question, unit, and the data source as a variable."""
    board = json.loads((DEPLOY / "grafana/raisehand.json").read_text("utf-8"))
    assert board["id"] is None
    assert len(board["panels"]) <= 16
    for panel in board["panels"]:
        assert panel["title"]
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"


def _alerts():
    groups = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _emitted():
    """Names that the router's own code gives its metrics."""
    found = set()
    for path in (ROOT / "router").rglob("*.py"):
        found |= set(re.findall(r'"(raisehand_[a-z_]+)"', path.read_text("utf-8")))
    return found | {dict(labels)["__name__"] for labels in _of_load_tests()}


def _of_load_tests():
    """Labels of the series that a load test pushes: those of all the reports in docs."""
    reports = sorted((ROOT / "docs" / "reports").glob("*.json"))
    return series_of([each for path in reports for each in read_results(path)])


def test_the_board_of_load_tests_shows_all_that_they_push():
    """Each figure that a load test has stands in a panel."""
    board = (DEPLOY / "grafana" / "loadtests.json").read_text("utf-8")
    names = {dict(labels)["__name__"] for labels in _of_load_tests()}
    assert names == set(re.findall(r"raisehand_loadtest_[a-z0-9_]+", board))
