"""A local classifier as a teacher, in a process of its own that ends with ours."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import HttpUrl

from costmodel.lifeline import Lifeline
from costmodel.processes import free_port, stop
from students.errors import BadTask, TeacherError, TeacherUnavailable
from students.task import Task
from students.teachers.classify import ClassifyTeacher
from students.teachers.client import TeacherClient, server_url
from students.teachers.protocol import TeacherReply

_START_S = 120.0


class LocalTeacher:
    """Starts `raisehand teacher` on a free loopback port at the first question.

    A revision of `unknown` becomes the fingerprint of the weights: exchanging them makes another
    teacher.
    """

    def __init__(self, task: Task) -> None:
        folder = task.teacher.model_path
        assert folder is not None, "TeacherSection checks this"
        self.schema = task.schema_
        port = free_port()
        section = task.teacher.model_copy(
            update={
                "base_url": HttpUrl(f"http://127.0.0.1:{port}"),
                "revision": _revision(task.teacher.revision, folder),
                "api_key_env": None,
            }
        )
        self._client = TeacherClient(section)
        self._inner = ClassifyTeacher(task.model_copy(update={"teacher": section}), self._client)
        self.descriptor = replace(self._inner.descriptor, mode="local")
        self._command = [
            sys.executable,
            "-c",
            "from students.commands.teacher import teacher; teacher()",
            *("--model", str(folder), "--name", section.model, "--port", str(port)),
        ]
        self._health = server_url(section, "/v1/models")
        self._held = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = asyncio.Lock()

    async def label(
        self, texts: Sequence[str], *, timeout_s: float | None = None
    ) -> list[TeacherReply]:
        """Ask about all texts in one request; the first call waits for the process."""
        await self._start()
        return await self._inner.label(texts, timeout_s=timeout_s)

    async def check(self, *, timeout_s: float | None = None) -> None:
        """Start the process and ask one question."""
        await self._start()
        await self._inner.check(timeout_s=timeout_s)

    async def aclose(self) -> None:
        """Close the connections and end the process."""
        await self._inner.aclose()
        if self._process is not None:
            await asyncio.to_thread(stop, self._process)
            self._process = None
        self._held.close()

    async def _start(self) -> None:
        async with self._starting:
            if self._process is not None and self._process.poll() is None:
                return
            lifeline = self._held.enter_context(contextlib.closing(Lifeline()))
            self._process = subprocess.Popen(
                self._command,
                stdout=subprocess.DEVNULL,
                env={**os.environ, **lifeline.variables},
                pass_fds=(lifeline.descriptor,),
            )
            end = time.monotonic() + _START_S
            while time.monotonic() < end:
                code = self._process.poll()
                if code is not None:
                    raise TeacherUnavailable(
                        f"the local teacher ended with {code}; its message stands above"
                    )
                with contextlib.suppress(TeacherError):
                    await self._client.get(self._health, timeout_s=2)
                    return
                await asyncio.sleep(0.1)
            raise TeacherUnavailable(f"the local teacher was not ready after {_START_S:.0f} s")


def _revision(given: str, folder: Path) -> str:
    if given != "unknown":
        return given
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise BadTask(
            f"{folder} has no *.safetensors; teacher.model_path must name a Hugging Face folder"
        )
    digest = hashlib.sha256()
    for file in weights:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:12]
