"""What all teachers share that answer about one text in a request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from students.errors import TeacherRejected
from students.teachers.client import TeacherClient
from students.teachers.protocol import PROBE, TeacherReply


class OneTextTeacher(ABC):
    """A `Teacher` that needs to know only how to ask about one text."""

    _client: TeacherClient

    async def label(
        self, texts: Sequence[str], *, timeout_s: float | None = None
    ) -> list[TeacherReply]:
        """Ask about each text in turn; send one text a call to keep what was answered."""
        return [await self._ask(text, timeout_s) for text in texts]

    async def check(self, *, timeout_s: float | None = None) -> None:
        """Ask one question and read its answer as any other.

        Raises:
            TeacherRejected: the answer names no label.
        """
        reply = await self._ask(PROBE, timeout_s)
        if reply.distribution.label is None:
            raise TeacherRejected(f"asked {PROBE!r}, {reply.fault}", usage=reply.usage)

    async def aclose(self) -> None:
        """Close the connection pool."""
        await self._client.aclose()

    @abstractmethod
    async def _ask(self, text: str, timeout_s: float | None) -> TeacherReply:
        """Ask about one text; None is the client's own time limit."""
