"""The Batch API of a fake teacher: files in, a batch over them, files out.

A batch is answered when it is first looked at after its time: what is billed does not depend on how
often it is looked at. Every line is answered once, as a chat completion is.
"""

from __future__ import annotations

import email.parser
import email.policy
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgspec

from loadtests.servers.knobs import Knobs

JSON_KIND, FILE_KIND = b"application/json", b"application/octet-stream"
_ENDPOINT = "/v1/chat/completions"
_LISTED = 100
Answered = tuple[int, bytes, bytes]
"""Status, body and content type."""


@dataclass(eq=False)
class _Batch:
    id: str
    input_file_id: str
    made_at: float
    metadata: dict[str, str]
    window: str
    status: str = "in_progress"
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: list[dict[str, Any]] = field(default_factory=list)
    completed: int = 0
    failed: int = 0
    total: int = 0


class FakeBatches:
    """Holds files and batches in memory. `line` answers the body of one line, and bills it."""

    def __init__(self, line: Callable[[dict[str, Any]], bytes], clock: Callable[[], float]) -> None:
        self._line = line
        self._clock = clock
        self._files: dict[str, tuple[str, bytes]] = {}
        self._batches: dict[str, _Batch] = {}

    def answer(
        self, method: str, path: str, body: bytes, headers: dict[bytes, bytes], knobs: Knobs
    ) -> Answered:
        """Answer one request under /v1/files or /v1/batches."""
        parts = path.strip("/").split("/")[1:]
        try:
            match method, parts:
                case "POST", ["files"]:
                    return self._upload(body, headers.get(b"content-type", b""))
                case "GET", ["files", file]:
                    return _said(self._described(file))
                case "GET", ["files", file, "content"]:
                    return 200, self._files[file][1], FILE_KIND
                case "POST", ["batches"]:
                    return self._make(msgspec.json.decode(body))
                case "GET", ["batches"]:
                    return self._list(knobs)
                case "GET", ["batches", batch]:
                    return _said(self._looked_at(self._batches[batch], knobs))
                case "POST", ["batches", batch, "cancel"]:
                    return self._cancel(self._batches[batch], knobs)
        except KeyError as missing:
            return _refused(404, f"no such object: {missing}")
        except (msgspec.DecodeError, TypeError, ValueError) as error:
            return _refused(400, f"not a request of {path}: {error}")
        return _refused(404, f"no {method} {path}")

    def _upload(self, body: bytes, kind: bytes) -> Answered:
        parser = email.parser.BytesParser(policy=email.policy.HTTP)
        form = parser.parsebytes(b"Content-Type: " + kind + b"\r\n\r\n" + body)
        fields: dict[str, Any] = {
            str(part.get_param("name", header="content-disposition")): part
            for part in form.iter_parts()
        }
        purpose = fields["purpose"].get_payload(decode=True).decode().strip()
        if purpose != "batch":
            return _refused(400, f"purpose is {purpose!r}; batch is needed")
        content = fields["file"].get_payload(decode=True)
        name = fields["file"].get_filename() or "file"
        return _said(self._described(self._put(name, bytes(content))))

    def _put(self, name: str, content: bytes) -> str:
        file = f"file-{len(self._files)}"
        self._files[file] = name, content
        return file

    def _described(self, file: str) -> dict[str, Any]:
        name, content = self._files[file]
        return {
            "id": file, "object": "file", "bytes": len(content), "created_at": int(time.time()),
            "filename": name, "purpose": "batch", "status": "processed",
        }  # fmt: skip

    def _make(self, asked: dict[str, Any]) -> Answered:
        if asked["endpoint"] != _ENDPOINT:
            return _refused(400, f"endpoint is {asked['endpoint']!r}; {_ENDPOINT} is needed")
        file = asked["input_file_id"]
        self._files[file]
        batch = _Batch(
            f"batch_{len(self._batches)}", file, self._clock(), asked.get("metadata") or {},
            asked["completion_window"],
        )  # fmt: skip
        batch.total = self._files[file][1].count(b"\n")
        self._batches[batch.id] = batch
        return _said(_words(batch))

    def _list(self, knobs: Knobs) -> Answered:
        newest = list(self._batches.values())[::-1][:_LISTED]
        return _said(
            {
                "object": "list",
                "data": [self._looked_at(batch, knobs) for batch in newest],
                "has_more": len(self._batches) > _LISTED,
            }
        )

    def _cancel(self, batch: _Batch, knobs: Knobs) -> Answered:
        if batch.status == "in_progress":
            batch.status = "cancelled"
            self._work(batch, knobs, reached=0.5)
        return _said(_words(batch))

    def _looked_at(self, batch: _Batch, knobs: Knobs) -> dict[str, Any]:
        if batch.status == "in_progress" and self._clock() - batch.made_at >= knobs.batch_s:
            if knobs.batch_refused:
                batch.status = "failed"
                batch.errors = [{"code": "invalid_json_line", "message": "the file is refused"}]
            else:
                batch.status = "expired" if knobs.batch_expired_rate else "completed"
                self._work(batch, knobs, reached=1.0 - knobs.batch_expired_rate)
        return _words(batch)

    def _work(self, batch: _Batch, knobs: Knobs, *, reached: float) -> None:
        """Answer a batch's lines, up to a share of them; the rest ends in the error file."""
        rng = Random(f"{knobs.seed}/{batch.id}")
        answers, errors = [], []
        lines = self._files[batch.input_file_id][1].splitlines()
        for number, line in enumerate(lines):
            asked = msgspec.json.decode(line)
            said: dict[str, Any] = {
                "id": f"{batch.id}-{number}", "custom_id": asked["custom_id"], "response": None,
                "error": None,
            }  # fmt: skip
            if number >= reached * len(lines):
                said["error"] = {"code": f"batch_{batch.status}", "message": "not reached"}
                errors.append(said)
            elif rng.random() < knobs.batch_line_error_rate:
                fault = {"error": {"message": "internal error", "type": "server_error"}}
                said["response"] = {"status_code": 500, "request_id": "r", "body": fault}
                errors.append(said)
            else:
                body = msgspec.json.decode(self._line(asked["body"]))
                said["response"] = {"status_code": 200, "request_id": "r", "body": body}
                answers.append(said)
        rng.shuffle(answers)  # the order of lines says nothing
        batch.completed, batch.failed = len(answers), len(errors)
        if answers:
            batch.output_file_id = self._put("output.jsonl", _lines(answers))
        if errors:
            batch.error_file_id = self._put("errors.jsonl", _lines(errors))


def _words(batch: _Batch) -> dict[str, Any]:
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": _ENDPOINT,
        "errors": {"object": "list", "data": batch.errors} if batch.errors else None,
        "input_file_id": batch.input_file_id,
        "completion_window": batch.window,
        "status": batch.status,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "created_at": int(time.time()),
        "request_counts": {
            "total": batch.total, "completed": batch.completed, "failed": batch.failed,
        },
        "metadata": batch.metadata,
    }  # fmt: skip


def _lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)


def _said(body: dict[str, Any]) -> Answered:
    return 200, msgspec.json.encode(body), JSON_KIND


def _refused(status: int, words: str) -> Answered:
    body = {"error": {"message": words, "type": "fake_teacher", "code": status}}
    return status, msgspec.json.encode(body), JSON_KIND
