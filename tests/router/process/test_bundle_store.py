"""A host that has no bundle serves the one it is told, and swaps to another of the store."""

import json
import time
import urllib.request

import pytest
import yaml

from students.runtime.store import BundleStore

pytestmark = pytest.mark.e2e
TOKEN = "a-token-of-some-length"


@pytest.fixture
def two_hosts(tmp_path, folder, calm, publish_bundle):
    """A store with two bundles of the task, pushed by one host, and another host without any."""
    from students.runtime.bundle import find_bundle
    from students.task import load_task

    store = BundleStore(str(tmp_path / "store"))
    work_dir = load_task(folder / "task.yaml").work_dir
    urgent = find_bundle(work_dir)
    store.push(urgent)
    store.push(find_bundle(work_dir, calm))
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "task.yaml").write_text((folder / "task.yaml").read_text())
    assert "work_dir" not in yaml.safe_load((bare / "task.yaml").read_text())
    return bare, tmp_path / "store", urgent.id


def test_two_workers_fetch_once_and_swap_from_the_store(serve, two_hosts, calm):
    """Both serve; the folder holds each bundle once, whole; an id of nowhere is a conflict."""
    bare, store, urgent = two_hosts
    router = serve(
        "--bundle", urgent, "--workers", "2", "--admin-port", "0",
        at=bare, bundle_store=store, admin_token=TOKEN,
    )  # fmt: skip

    def ask(path, body=None):
        headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
        request = urllib.request.Request(f"{router.admin}{path}", body, headers)
        try:
            with urllib.request.urlopen(request) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as refused:
            return refused.code, json.load(refused)

    def tell(bundle):
        return ask("/tasks/urgent/bundle", json.dumps({"bundle": bundle}).encode())

    while None in ask("/state")[1]["workers"]:  # one of them may still be starting
        time.sleep(0.05)
    status, said = tell(calm)
    assert status == 200, said
    assert [worker["bundle"] for worker in said["workers"]] == [calm, calm]
    status, said = tell("0" * 12)
    assert status == 409
    assert "0 bundles in" in json.dumps(said)
    names = {path.name for path in (bare / ".raisehand" / "bundles").iterdir()}
    assert names == {urgent, calm, ".fetching"}
