"""docs/students.md names families, settings and exports that exist."""

import re
from pathlib import Path
from typing import get_args

import yaml

from students.commands.export import export
from students.runtime.bundle import Family
from students.sections import StudentSection

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "students.md").read_text(encoding="utf-8")


def test_every_family_is_in_the_table():
    """Those that a task can ask for and those that an export makes."""
    asked = get_args(StudentSection.model_fields["family"].annotation)
    assert all(f"| `{family}` |" in PAGE for family in {*asked, *get_args(Family)})


def test_every_export_is_described():
    """`--to` takes what the page explains, and nothing else."""
    target = next(p for p in export.params if p.name == "target")
    assert sorted(re.findall(r"^- `--to ([\w-]+)`", PAGE, flags=re.MULTILINE)) == sorted(
        target.type.choices
    )


def test_the_student_section_is_understood():
    """The YAML of the page is a student section."""
    block = re.search(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    section = StudentSection.model_validate(yaml.safe_load(block.group(1))["student"])
    assert section.family == "encoder"


def test_its_links_lead_somewhere():
    """Pages that it names exist, and so does the heading that it sends the reader to."""
    for link in re.findall(r"\]\(([\w/.-]+\.md)(?:#[\w-]+)?\)", PAGE):
        assert (ROOT / "docs" / link).exists(), link
    assert "\n## Known traps\n" in (ROOT / "docs" / "certificate.md").read_text(encoding="utf-8")
