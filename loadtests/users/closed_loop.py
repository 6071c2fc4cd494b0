"""The same requests from Locust's own HTTP user: a closed loop, for comparison.

A user here waits for its answer before it sends again, so that a target that freezes is asked less,
and what was not asked is in no statistic.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from locust import FastHttpUser, tag, task

from loadtests.inputs.rows import Row, rows_of
from loadtests.inputs.spec import LoadSpec, Surface
from loadtests.inputs.surface import PATHS, body_of, label_of
from loadtests.inputs.target import request_headers


class ClosedLoopUser(FastHttpUser):  # type: ignore[misc]  # locust is untyped
    """A router's surfaces by Locust's own client, pacing and clock."""

    abstract = True
    turns: Iterator[Row] | None = None

    def on_start(self) -> None:
        """Read the inputs, once for all users of this process."""
        self.spec: LoadSpec = self.environment.open_loop_schedule[0]
        kind = type(self)
        if kind.turns is None:
            kind.turns = itertools.cycle(rows_of(self.spec))

    def ask(self, surface: Surface) -> None:
        """Send the next input; a 200 without a label is a failure."""
        assert self.turns is not None
        body = body_of(self.spec, next(self.turns).text, surface)
        headers = request_headers(self.spec)
        path = PATHS[surface]
        with self.client.post(path, data=body, headers=headers, catch_response=True) as reply:
            if reply.status_code == 200 and label_of(surface, reply.content) is None:
                reply.failure("garbled")

    @tag("classify")  # type: ignore[untyped-decorator]
    @task(10)  # type: ignore[untyped-decorator]
    def classify(self) -> None:
        """One text on the native surface."""
        self.ask("classify")

    @tag("chat")  # type: ignore[untyped-decorator]
    @task(4)  # type: ignore[untyped-decorator]
    def chat(self) -> None:
        """A chat completion as an application sends it."""
        self.ask("chat")
