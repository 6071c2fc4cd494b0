"""Nobody works for a client that has left: what runs for it ends with it."""

from __future__ import annotations

import asyncio
from types import TracebackType

from router.clock import Client
from router.errors import ClientGone

LOOK_S = 0.05
"""How often it is looked whether a client that waits for a teacher is still there."""


class WhileThere:
    """Cancels the task in its body once the client has hung up; that leaves as ClientGone.

    As `asyncio.timeout` does it with time: a cancellation from elsewhere stays one.

        async with WhileThere(call.client):
            await teacher_call()
    """

    def __init__(self, client: Client | None) -> None:
        self._client = client
        self._gone = False
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> None:
        """Begin to look."""
        task = asyncio.current_task()
        assert task is not None, "whoever awaits is a task"
        self._task = task
        self._cancelling = task.cancelling()
        if self._client is not None:
            self._look(self._client)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop looking.

        Raises:
            ClientGone: the body was ended because the client has left.
        """
        if self._timer is not None:
            self._timer.cancel()
        if (
            self._gone
            and self._task.uncancel() <= self._cancelling
            and isinstance(error, asyncio.CancelledError)
        ):
            raise ClientGone("The client hung up.") from error

    def _look(self, client: Client) -> None:
        self._timer = None
        if client.disconnected:
            self._gone = True
            self._task.cancel()
        else:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look, client)
