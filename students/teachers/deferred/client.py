"""A client whose questions gather into batches: upload, create, poll, fetch, and who asked hears.

A teacher asks it as it asks any other, so that prompts, reading and billing are the same code. A
request is known by what is in it: asked again by a run that follows a kill, it waits for the batch
that holds it already, or gets the reply that came meanwhile.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from costmodel.money.pricing import NO_USAGE
from students.errors import TeacherDenied, TeacherError, TeacherThrottled, TeacherUnavailable
from students.sections import TeacherSection
from students.teachers.client import TeacherClient, openai_url, refusal_of
from students.teachers.deferred.journal import DeferredJournal
from students.teachers.protocol import ASKED_BEFORE

MOST_REQUESTS = 10_000
"""Of one batch; providers take 50,000."""
MOST_BYTES = 90 * 2**20
"""Of one file; providers take 100 to 200 MB."""
GATHER_S = 0.5
"""A batch is sent once nobody has asked anything for so long."""
POLLS_S = (2.0, 5.0, 15.0, 60.0)
"""Between looks at a batch, the last one from then on."""
WINDOW = "24h"
ENDED = ("completed", "failed", "expired", "cancelled")
_MARK = "raisehand"
"""Under which key of its metadata a batch carries its draft."""


@dataclass(frozen=True, slots=True)
class BatchState:
    """A batch and how far it is, for people."""

    batch: str
    status: str
    done: int
    failed: int
    total: int


class DeferredClient(TeacherClient):
    """Takes the place of a `TeacherClient`; what is no chat completion is asked at once.

    Args:
        path: of the journal.
        told: hears of each batch whenever it was looked at.
    """

    def __init__(
        self,
        section: TeacherSection,
        path: Path,
        *,
        told: Callable[[BatchState], None] | None = None,
        gather_s: float = GATHER_S,
        polls_s: tuple[float, ...] = POLLS_S,
        most: int = MOST_REQUESTS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__(section)
        self._journal = DeferredJournal(path)
        self._told = told
        self._gather_s = gather_s
        self._polls_s = polls_s
        self._most = most
        self._sleep = sleep
        self._url = openai_url(section, "/chat/completions")
        self._files = openai_url(section, "/files")
        self._batches = openai_url(section, "/batches")
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._new: dict[str, bytes] = {}
        self._asked = 0
        self._running: set[asyncio.Task[None]] = set()
        self._gathering: asyncio.Task[None] | None = None
        self._adopted: asyncio.Task[None] | None = None

    async def post(self, url: str, body: Any, timeout_s: float | None = None) -> dict[str, Any]:
        """Return the reply to a question once its batch has ended; no limit of time but that.

        Raises:
            TeacherUnavailable: the batch expired, or this line of it failed: ask again.
            TeacherRejected, TeacherDenied: this line, or the batch as a whole, was refused.
        """
        if url != self._url:
            return await super().post(url, body, timeout_s)
        await self._adopt()
        content = json.dumps(body, sort_keys=True)
        digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:40]
        key = f"{digest}-{ASKED_BEFORE.get()}"
        if (known := self._journal.reply(key)) is not None:
            return known
        reply = self._waiting.get(key)
        if reply is None:
            reply = self._waiting[key] = asyncio.get_running_loop().create_future()
            line = {"custom_id": key, "method": "POST", "url": _path_of(url), "body": body}
            self._new[key] = json.dumps(line).encode() + b"\n"
            self._asked += 1
            if self._gathering is None:
                self._gathering = asyncio.create_task(self._gather())
        return await asyncio.shield(reply)

    async def aclose(self) -> None:
        """Stop waiting; what was sent off stays with the provider, and is found by the next run."""
        tasks = [*self._running, *filter(None, (self._gathering, self._adopted))]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for reply in self._waiting.values():
            reply.cancel()
        self._journal.close()
        await super().aclose()

    async def cancel(self) -> list[str]:
        """Ask the provider to end every batch that runs; return their ids."""
        await self._adopt()
        found = [batch for _, batch in self._journal.open(self._batches) if batch is not None]
        for batch in found:
            await super().post(f"{self._batches}/{batch}/cancel", {})
        return found

    async def _adopt(self) -> None:
        """Once: wait for what earlier runs sent off, also where they were killed while sending."""
        if self._adopted is None:
            self._adopted = asyncio.create_task(self._find_open())
        await asyncio.shield(self._adopted)

    async def _find_open(self) -> None:
        for draft, known in self._journal.open(self._batches):
            batch = known or await self._look_for(draft)
            if batch is None:
                self._journal.end(draft, {})  # it never got there: asked anew where it is wanted
                continue
            self._journal.sent(draft, batch)
            for key in self._journal.keys(draft):
                self._waiting[key] = asyncio.get_running_loop().create_future()
            self._start(self._follow(draft, batch))

    async def _look_for(self, draft: str) -> str | None:
        """Return the id of a batch that may have been made before anybody could note it."""
        while True:
            try:
                listed = (await self.get(f"{self._batches}?limit=100")).get("data") or []
                break
            except (TeacherUnavailable, TeacherThrottled):
                await self._sleep(self._polls_s[-1])
        marked = (one for one in listed if (one.get("metadata") or {}).get(_MARK) == draft)
        return next((str(one["id"]) for one in marked), None)

    async def _gather(self) -> None:
        """Send what was asked, once nobody asks more or a batch is full."""
        try:
            while self._new:
                seen = -1
                while seen != self._asked and len(self._new) < self._most:
                    seen = self._asked
                    await asyncio.sleep(self._gather_s)
                lines = self._next_batch()
                self._start(self._send_off(lines))
        finally:
            self._gathering = None

    def _next_batch(self) -> dict[str, bytes]:
        taken: dict[str, bytes] = {}
        size = 0
        for key, line in list(self._new.items()):
            if taken and (len(taken) == self._most or size + len(line) > MOST_BYTES):
                break
            taken[key] = self._new.pop(key)
            size += len(line)
        return taken

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _send_off(self, lines: Mapping[str, bytes]) -> None:
        draft = f"rh-{secrets.token_hex(8)}"
        self._journal.begin(draft, lines, self._batches)
        try:
            file = await self.upload(
                self._files, f"{draft}.jsonl", b"".join(lines.values()), purpose="batch"
            )
            made = await super().post(
                self._batches,
                {
                    "input_file_id": file["id"],
                    "endpoint": _path_of(self._url),
                    "completion_window": WINDOW,
                    "metadata": {_MARK: draft},
                },
            )
            batch: str | None = str(made["id"])
        except TeacherError as error:
            # Lost on the way is not refused: it may run, and would be paid twice.
            batch = None if error.usage == NO_USAGE else await self._look_for(draft)
            if batch is None:
                self._journal.end(draft, {})
                self._fail(lines, error)
                return
        assert batch is not None, "or it has failed"
        self._journal.sent(draft, batch)
        await self._follow(draft, batch)

    async def _follow(self, draft: str, batch: str) -> None:
        """Look at a batch until it has ended; give everybody who waits what came of it."""
        looks = 0
        try:
            while True:
                try:
                    state = await self.get(f"{self._batches}/{batch}")
                except (TeacherUnavailable, TeacherThrottled):
                    state = {}  # it goes on without us; look again
                status = str(state.get("status", ""))
                self._say(batch, status, state)
                if status in ENDED:
                    break
                await self._sleep(self._polls_s[min(looks, len(self._polls_s) - 1)])
                looks += 1
            lines = [
                json.loads(line)
                for name in ("output_file_id", "error_file_id")
                if state.get(name)
                for line in (
                    await self.download(f"{self._files}/{state[name]}/content")
                ).splitlines()
                if line.strip()
            ]
        except TeacherError as error:
            self._fail(self._journal.keys(draft), error)
            return
        self._settle(draft, batch, status, state, lines)

    def _settle(
        self,
        draft: str,
        batch: str,
        status: str,
        state: Mapping[str, Any],
        lines: list[dict[str, Any]],
    ) -> None:
        keys = self._journal.keys(draft)
        replies: dict[str, dict[str, Any]] = {}
        errors: dict[str, TeacherError] = {}
        for line in lines:
            key = str(line.get("custom_id"))
            response = line.get("response") or {}
            if response.get("status_code") == 200 and isinstance(response.get("body"), dict):
                replies[key] = response["body"]
            else:
                errors[key] = self._error_of(line)
        self._journal.end(draft, replies)
        for key in keys:
            waiting = self._waiting.pop(key, None)
            if waiting is None or waiting.done():
                continue
            if key in replies:
                waiting.set_result(replies[key])
            else:
                stopped = status in ("failed", "cancelled")
                error = None if stopped else errors.get(key)
                waiting.set_exception(error or _unfinished(batch, status, state))
                waiting.exception()  # seen, should nobody wait for it any more

    def _error_of(self, line: Mapping[str, Any]) -> TeacherError:
        response, error = line.get("response") or {}, line.get("error") or {}
        status = int(response.get("status_code") or 0)
        if status:
            content = json.dumps(response.get("body") or {}).encode()
            return refusal_of(self._url, status, content, None)
        words = f"{error.get('code', 'error')}: {error.get('message', 'no reason given')}"
        return TeacherUnavailable(f"a line of a batch failed, {words}", usage=NO_USAGE)

    def _fail(self, keys: Any, error: TeacherError) -> None:
        for key in keys:
            waiting = self._waiting.pop(key, None)
            if waiting is not None and not waiting.done():
                waiting.set_exception(error)
                waiting.exception()

    def _say(self, batch: str, status: str, state: Mapping[str, Any]) -> None:
        if self._told is not None:
            counts = state.get("request_counts") or {}
            done, failed, total = (
                int(counts.get(n) or 0) for n in ("completed", "failed", "total")
            )
            self._told(BatchState(batch, status or "not reached", done, failed, total))


def _unfinished(batch: str, status: str, state: Mapping[str, Any]) -> TeacherError:
    """Why a line of a batch that ended has no reply."""
    if status == "failed":
        found = (state.get("errors") or {}).get("data") or [{}]
        return TeacherDenied(
            f"the batch {batch} was refused: {found[0].get('message') or 'no reason given'}"
        )
    if status == "cancelled":
        return TeacherDenied(
            f"the batch {batch} was cancelled; what it answered is kept: run the same command to "
            "ask the rest"
        )
    return TeacherUnavailable(f"the batch {batch} {status} before this line", usage=NO_USAGE)


def _path_of(url: str) -> str:
    """The path of a route as a batch names it, whatever is before `/v1` and behind it."""
    return "/v1/" + url.partition("?")[0].rpartition("/v1/")[2]
