"""Trim load reports until they can stand in a repository: figures, no bulk, no paths.

    python examples/loadtests/publish.py reports/loadtests/peak.json --to docs/reports

Left out are the points of the cumulative curves and the folders of this machine; the documentation
site draws the page from what is left. Not in it, and not claimed: what the report
itself calls INVALID is published as INVALID.
"""

from __future__ import annotations

from pathlib import Path

import click

from loadtests.verdict.conclusion import Conclusion

MOST_BYTES = 150_000


def trimmed(conclusion: Conclusion) -> Conclusion:
    """Return the conclusion without cumulative curves and folders."""
    report = conclusion.report
    spec = report.spec.model_copy(update={"inputs": Path(report.spec.inputs.name), "samples": None})
    light = report.model_copy(update={"spec": spec, "cdf_ms": {}})
    return conclusion.model_copy(update={"report": light})


@click.command()
@click.argument("reports", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--to", "folder", required=True, type=click.Path(path_type=Path))
def main(reports: tuple[Path, ...], folder: Path) -> None:
    """Write NAME.json of each report into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in reports:
        conclusion = Conclusion.model_validate_json(path.read_bytes())
        name, content = path.name, trimmed(conclusion).model_dump_json(indent=1) + "\n"
        if len(content.encode()) > MOST_BYTES:
            raise click.ClickException(f"{name} would be {len(content.encode())} bytes")
        (folder / name).write_text(content, encoding="utf-8")
        click.echo(f"{folder / name}: {len(content.encode()):,} bytes")


if __name__ == "__main__":
    main()
