"""The documentation builds into a site, and what its pictures name exists."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MKDOCS = Path(sys.executable).with_name("mkdocs")


def test_the_site_builds_without_a_warning(tmp_path):
    """No page is missing from the contents, no link or anchor leads nowhere."""
    done = subprocess.run(
        [MKDOCS, "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    pages = [page.read_text("utf-8") for page in (tmp_path / "site").rglob("*.html")]
    assert len(pages) > 15
    reports = {page.stem for page in (tmp_path / "site" / "reports").glob("*.html")}
    assert reports == {path.stem for path in (ROOT / "docs" / "reports").glob("*.json")} != set()
    loads = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', "".join(pages))
    assert [address for address in loads if "raisehand" not in address] == []


@pytest.mark.parametrize("page", ["docs/how-it-works.md", "CONTRIBUTING.md"])
def test_the_stories_name_files_that_exist(page):
    """Every module that a story names is there."""
    text = (ROOT / page).read_text("utf-8")
    named = set(re.findall(r"\b(?:router|students|costmodel|loadtests)/[\w/]+\.py", text))
    assert len(named) >= 15
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_each_decision_has_a_number_of_its_own():
    """A number is how a decision is named."""
    found = [path.name[:4] for path in (ROOT / "docs" / "decisions").glob("0*.md")]
    assert sorted(found) == sorted(set(found))


def test_every_decision_is_listed_with_its_status():
    """The index names each decision, and each says its status and date."""
    folder = ROOT / "docs" / "decisions"
    index = (folder / "index.md").read_text("utf-8")
    for page in sorted(folder.glob("0*.md")):
        assert f"({page.name})" in index
        assert re.search(r"accepted|replaced", index.split(f"({page.name})")[1].split("\n")[0])
