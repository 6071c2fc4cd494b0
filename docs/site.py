"""What the documentation site needs beyond its pages: links into the repository."""

from __future__ import annotations

import re
from typing import Any

OUTSIDE = re.compile(r"\]\((?:\.\./)+((?:examples|tests)/[^)#]+)\)")
"""A link of a page to a file of the repository, which is no page."""


def on_page_markdown(markdown: str, *, config: Any, **_: Any) -> str:
    """Point links to scripts, scenarios and tests at the repository (called by mkdocs)."""
    return OUTSIDE.sub(rf"]({config.repo_url.rstrip('/')}/blob/main/\1)", markdown)
