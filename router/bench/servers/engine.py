"""An engine around the student of the benches.

python -m router.bench.servers.engine --socket PATH
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import click

from router.bench.subject import make_student, make_task
from router.process.engine import Engine
from router.settings import load_settings


@click.command()
@click.option("--socket", "address", required=True, type=click.Path(path_type=Path))
def main(address: Path) -> None:
    """Serve workers until told to stop, whichever bundle they ask for."""
    import uvloop

    student = make_student(make_task("http://127.0.0.1:9", address.parent).schema_)
    student.predict(["warm up"])
    engine = Engine(lambda path: student, load_settings(), address.with_suffix(".loaded"))
    uvloop.run(_run(engine, address))


async def _run(engine: Engine, address: Path) -> None:
    await engine.start(address)
    click.echo(json.dumps({"port": 0, "threads": {}}))
    await asyncio.Event().wait()


if __name__ == "__main__":
    main()
