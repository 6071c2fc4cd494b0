"""`raisehand whatif`: what a month costs, and what it would cost if."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command(
    epilog="Example: raisehand whatif --task task.yaml --set traffic.requests_per_day=1e6"
)
@click.option(
    "--task", "task_path", type=click.Path(path_type=Path), required=True, help="The task file."
)
@click.option("--bundle", help="Id of the bundle whose evaluation counts; default the latest.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change a field first, e.g. student.min_machines=4. May be repeated.",
)
@click.option(
    "--threshold", type=click.FloatRange(0, 1), help="As if the student answered from here on."
)
@click.option("--html", type=click.Path(path_type=Path), help="Also write a page for a browser.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def whatif(
    task_path: Path,
    bundle: str | None,
    settings: tuple[str, ...],
    threshold: float | None,
    html: Path | None,
    as_markdown: bool,
    as_json: bool,
) -> None:
    """Project a month's bill on every rail, the savings with their interval, and break-even.

    Counts come from the bundle's evaluation, prices and traffic from the task file.
    """
    from costmodel.deployment import at_threshold, parse_changes
    from costmodel.report.money import money_page
    from costmodel.report.tables import markdown, projection_tables
    from costmodel.report.terminal import print_tables
    from costmodel.taskfile import read_deployment
    from costmodel.whatif import project_deployment, verdict

    deployment = read_deployment(task_path, bundle, parse_changes(settings))
    if threshold is not None:
        deployment = at_threshold(deployment, threshold)
    projection = project_deployment(deployment)
    _, sentence = verdict(deployment, projection)
    if html is not None:
        html.parent.mkdir(parents=True, exist_ok=True)
        html.write_text(money_page(deployment, projection).html(), encoding="utf-8")
    if as_json:
        shown = {
            "task": deployment.name,
            "bundle": deployment.bundle,
            "verdict": sentence,
            "deployment": deployment.model_dump(mode="json"),
            "projection": projection.model_dump(mode="json"),
        }
        click.echo(json.dumps(shown, indent=1, allow_nan=False))
    elif as_markdown:
        click.echo(markdown(projection_tables(projection)) + f"\n{sentence}")
    else:
        from rich.console import Console

        print_tables(Console(), projection_tables(projection))
        click.secho(sentence, bold=True)
