"""What the documentation site needs beyond its pages: links into the repository, load reports."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

OUTSIDE = re.compile(r"\]\((?:\.\./)+((?:examples|tests)/[^)#]+)\)")
"""A link of a page to a file of the repository, which is no page."""
REPORT = re.compile(r"\]\(((?:\.\./)*reports/[\w-]+)\.json\)")
"""A link to the figures of a load test; the site has them as a page."""


def on_files(files: Any, *, config: Any, **_: Any) -> Any:
    """Draw the page of every load report from its JSON (called by mkdocs)."""
    from loadtests.report.page import page_of
    from loadtests.verdict.conclusion import Conclusion

    for path in sorted((Path(config.docs_dir) / "reports").glob("*.json")):
        html = page_of(Conclusion.model_validate_json(path.read_bytes())).html()
        files.append(File.generated(config, f"reports/{path.stem}.html", content=html))
    return files


def on_page_markdown(markdown: str, *, config: Any, **_: Any) -> str:
    """Point links at the repository and at the drawn reports (called by mkdocs)."""
    drawn = REPORT.sub(r"](\1.html)", markdown)
    return OUTSIDE.sub(rf"]({config.repo_url.rstrip('/')}/blob/main/\1)", drawn)
