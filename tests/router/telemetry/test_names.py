"""Names and units of the metrics, as Prometheus' own checker sees those of a running router."""

import shutil
import subprocess

import httpx2
import pytest


def test_promtool_finds_no_fault_with_the_metrics_of_a_router_with_workers(serve):
    """Base units, suffixes, help texts, no name that says its type: nothing to complain about."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool is installed")
    router = serve("--workers", "2")
    httpx2.post(f"{router.url}/v1/classify", json={"text": "a"})
    exposition = httpx2.get(f"{router.url}/metrics").text
    assert "raisehand_requests_total" in exposition
    done = subprocess.run(
        [promtool, "check", "metrics"], input=exposition, text=True, capture_output=True
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
