"""A server that does nothing: what the generator reaches against it is the generator's own limit.

python -m loadtests.servers.null --port 8090
"""

from __future__ import annotations

import click

from loadtests.servers.asgi import JSON, Receive, Scope, Send, read_body, reply, serve

BODY = b'{"label":"null","confidence":1.0,"raisehand":{"route":"student","reason":"confident"}}'
HEADERS = (
    JSON,
    (b"x-raisehand-route", b"student"),
    (b"x-raisehand-reason", b"confident"),
    (b"x-raisehand-confidence", b"1.0"),
    (b"x-raisehand-cost-usd", b"0"),
)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer every request at once with the same words, as a router would word them."""
    await read_body(receive)
    await reply(send, 200, BODY, HEADERS)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8090, show_default=True)
def main(host: str, port: int) -> None:
    """Serve nothing, quickly."""
    serve(app, host, port)


if __name__ == "__main__":
    main()
