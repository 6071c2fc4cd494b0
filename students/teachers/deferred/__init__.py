"""Questions that may wait a day for half the price: the Batch API, behind the usual client."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from costmodel.errors import UnknownPrice
from students.errors import BadTask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from costmodel.money.pricing import Price
    from students.sections import TeacherSection
    from students.task import Task
    from students.teachers.deferred.client import BatchState
    from students.teachers.protocol import Teacher

FILE = "deferred.sqlite"
"""In the work_dir: what was sent off, and what came back."""


def deferred_price(section: TeacherSection) -> Price:
    """Return what a teacher charges for batches.

    Raises:
        UnknownPrice: nobody knows; says how to add it.
    """
    from costmodel.money.pricebook import price_of, processed

    if section.batch_price is not None:
        return price_of(section.batch_price)
    price = price_of(section.price)
    try:
        return processed(price, "batch")
    except UnknownPrice as error:
        raise UnknownPrice(
            f"teacher.batch needs the tariff of batches: {error}; give it as teacher.batch_price"
        ) from None


def make_deferred(
    task: Task,
    *,
    orders: Sequence[bool] | None = None,
    told: Callable[[BatchState], None] | None = None,
) -> Teacher:
    """Return the task's teacher, asked by batches; the same teacher, by its descriptor.

    `told` hears of each batch and what becomes of it.

    Raises:
        BadTask: its mode has no Batch API, or its API key is not in the environment.
    """
    from students.teachers.chat import ChatTeacher
    from students.teachers.deferred.client import DeferredClient
    from students.teachers.text import TextTeacher

    if task.teacher.mode not in ("chat", "text"):
        raise BadTask(
            f"teacher.batch is for chat and text mode, and teacher.mode is {task.teacher.mode}; "
            "take it out"
        )
    client = DeferredClient(task.teacher, Path(task.work_dir) / FILE, told=told)
    if task.teacher.mode == "text":
        return TextTeacher(task, client)
    return ChatTeacher(task, client, orders)


async def cancel_batches(task: Task) -> list[str]:
    """Ask the provider to end every batch of a task that runs; return their ids.

    Raises:
        TeacherError: it cannot be told.
    """
    from students.teachers.deferred.client import DeferredClient

    client = DeferredClient(task.teacher, Path(task.work_dir) / FILE)
    try:
        return await client.cancel()
    finally:
        await client.aclose()
