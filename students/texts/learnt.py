"""Which bundle learnt from which kept texts: recognised, not readable."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path

LEARNT_FILE = "learnt.jsonl"
"""In the work_dir."""


def note(work_dir: Path, bundle: str, recognised: Iterable[str], until: float) -> None:
    """Write down what a bundle learnt from, and until when (Unix seconds) rows judged it."""
    line = json.dumps({"bundle": bundle, "until": until, "texts": sorted(set(recognised))})
    with (work_dir / LEARNT_FILE).open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def bundles_of(work_dir: Path, recognised: Collection[str]) -> list[str]:
    """Return the bundles that learnt from any of these texts."""
    try:
        lines = (work_dir / LEARNT_FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    wanted = set(recognised)
    found = [json.loads(line) for line in lines]
    return [one["bundle"] for one in found if wanted.intersection(one["texts"])]
