"""Several texts in one request: each is answered or refused by itself, and each is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from router.errors import BadRequest, Overloaded, Refusal
from router.http.hot_route import Call
from router.request import Answer, Ask
from router.service.served import Served

AskFor = Callable[[str], Ask]
"""Puts one text in the pipeline's terms.

Raises:
    BadRequest: the text is not taken.
"""


async def answer_all(
    call: Call, served: Served, texts: Sequence[str], ask_for: AskFor, *, name: str, at_most: int
) -> list[Answer | Refusal]:
    """Answer a list, in its order; what becomes of one text fails no other.

    The list counts as its length against the key's rate.

    Raises:
        Refusal: the list is empty or too long, there is no room for it, or not one text of it was
            answered: then why the first was not.
    """
    if not 1 <= len(texts) <= at_most:
        raise BadRequest(f"`{name}` has {len(texts)} items; 1 to {at_most} are allowed.")
    if len(texts) > served.pipeline.slot.pick().batcher.room:
        raise Overloaded("The student's queue has no room for the list; retry in a moment.")
    if call.key is not None:
        call.key.count(len(texts) - 1)  # one was counted when the request came
    outcomes = await asyncio.gather(
        *(_outcome(served, ask_for, text, id_in_list(call, i)) for i, text in enumerate(texts))
    )
    first = outcomes[0]
    if isinstance(first, Refusal) and not answers_in(outcomes):
        raise first
    return outcomes


def answers_in(outcomes: Sequence[Answer | Refusal]) -> list[Answer]:
    """Return what was answered."""
    return [outcome for outcome in outcomes if not isinstance(outcome, Refusal)]


def id_in_list(call: Call, index: int) -> str:
    """Return the request id of one text of a list, by which feedback names it."""
    return f"{call.request_id}.{index}"


async def _outcome(served: Served, ask_for: AskFor, text: str, its_id: str) -> Answer | Refusal:
    try:
        ask = msgspec.structs.replace(ask_for(text), request_id=its_id)
        return await served.pipeline.answer(ask)
    except Refusal as refusal:
        return refusal
