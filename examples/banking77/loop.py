"""The whole loop on real texts: drift, alarm, the next student, promotion; no request fails.

A student learns four topics from half of Banking77's intents. Then the traffic turns to the other
half, which it never saw: audits raise the alarm, the teacher answers everything, a webhook says so.
What was kept makes the next student; it is shadowed, shown to be no worse, and promoted by steps.

    python examples/banking77/loop.py --data FOLDER_WITH_train.csv_AND_test.csv

The teacher here is the published intent's topic, served by `raisehand fake-teacher` over HTTP.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import aiohttp
import yaml

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from servers import free_port, running  # noqa: E402
from steps import raisehand, say  # noqa: E402

TOKEN = "an-operators-token-of-the-example"
TOPICS = {
    "card": ("card", "pin", "contactless"),
    "transfer": ("transfer", "payment", "beneficiary", "debit"),
    "top_up": ("top_up", "top_ups", "topping"),
}
"""Words of an intent's name that put it under a topic, the first that fits; else `other`."""
Row = tuple[str, str, str]
"""Text, topic, intent."""


def main() -> None:
    """Run it, and print what was seen."""
    options = _options()
    work = options.cache.resolve()
    work.mkdir(parents=True, exist_ok=True)
    rows = [*_read(options.data / "train.csv"), *_read(options.data / "test.csv")]
    seen, unseen = _halves(rows)
    _write(work / "inputs.csv", seen)
    _write(work / "answers.csv", rows)
    ports = {name: free_port() for name in ("teacher", "router", "admin")}
    with _Receiver() as (hook, events):
        _write_task(work / "task.yaml", ports["teacher"], hook, options)
        task = str(work / "task.yaml")
        teacher = ["fake-teacher", "--task", task, "--references", str(work / "answers.csv"),
                   "--port", str(ports["teacher"])]  # fmt: skip
        ready = f"http://127.0.0.1:{ports['teacher']}/health"
        with running(teacher, ready_url=ready, log=work / "teacher.log"):
            raisehand("label", "--task", task, "--yes")
            raisehand("distill", "--task", task, allowed=(0, 5))
            serve = ["serve", "--task", task, "--workers", "2", "--port", str(ports["router"]),
                     "--admin-port", str(ports["admin"])]  # fmt: skip
            ready = f"http://127.0.0.1:{ports['router']}/readyz"
            variables = {"RAISEHAND_ADMIN_TOKEN": TOKEN}
            with running(serve, ready_url=ready, log=work / "serve.log", variables=variables):
                loop = _Loop(work, ports["router"], ports["admin"], events, options.requests)
                figures = asyncio.run(loop.run(seen, unseen))
    print(json.dumps(figures, indent=1))


class _Loop:
    """Traffic, and what an operator does meanwhile."""

    def __init__(
        self, work: Path, port: int, admin: int, events: list[dict[str, Any]], requests: int
    ) -> None:
        self._task = str(work / "task.yaml")
        self._url = f"http://127.0.0.1:{port}"
        self._admin = f"http://127.0.0.1:{admin}"
        self._events = events
        self._requests = requests
        self._rng = random.Random(0)
        self._statuses: Counter[int] = Counter()

    async def run(self, seen: Sequence[Row], unseen: Sequence[Row]) -> dict[str, Any]:
        """Go the whole way; return the figures."""
        async with aiohttp.ClientSession() as self._session:
            before = await self._send(seen, self._requests // 4)
            sent = 0
            drifted: Counter[str] = Counter()
            while not self._said("promise_broken") and sent < 10 * self._requests:
                drifted += await self._send(unseen, 100)
                sent += 100
            alarm = self._said("promise_broken")
            broken = await self._send(unseen, self._requests)
            candidate = await asyncio.to_thread(self._retrain)
            await self._candidate("shadow", "topics", candidate)
            compared = await self._until(unseen, self._is_shown)
            shares = []
            while (await self._state())["bundle"] != candidate:
                [state, *_] = await self._candidate("promote", "topics")
                shares.append(state["canary_share"] or 1.0)
                await self._send(unseen, 100)
            after = await self._send(unseen, self._requests // 2)
        return {
            "escalated_before_drift": _escalated(before),
            "requests_until_the_alarm": sent,
            "webhook": alarm,
            "escalated_under_alarm": _escalated(broken),
            "candidate": candidate,
            "requests_until_it_was_shown": compared,
            "shares": shares,
            "escalated_after_promotion": _escalated(after),
            "statuses": dict(self._statuses),
        }

    async def _send(self, rows: Sequence[Row], n: int, at_once: int = 8) -> Counter[str]:
        """Send texts at random; count the routes."""
        routes: Counter[str] = Counter()
        left = iter(self._rng.choices(rows, k=n))

        async def worker() -> None:
            for text, _, _ in left:
                async with self._session.post(
                    f"{self._url}/v1/classify", json={"text": text}
                ) as response:
                    await response.read()
                    self._statuses[response.status] += 1
                    routes[response.headers.get("x-raisehand-route", "none")] += 1

        await asyncio.gather(*(worker() for _ in range(at_once)))
        return routes

    async def _until(
        self, rows: Sequence[Row], true: Callable[[dict[str, Any]], bool], most: int = 40_000
    ) -> int:
        for sent in range(0, most, 200):
            state = await self._state()
            if true(state):
                return sent
            await self._send(rows, 200)
        raise SystemExit(f"not after {most:,} requests: {state}")

    @staticmethod
    def _is_shown(state: dict[str, Any]) -> bool:
        if state["shadow"] is None:
            raise SystemExit(f"the candidate was taken out: {state}")
        return (state["duel"] or {}).get("outlook") == "candidate_not_worse"

    async def _state(self) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {TOKEN}"}
        async with self._session.get(f"{self._admin}/state", headers=headers) as response:
            document = await response.json()
        states = [worker["tasks"]["topics"] for worker in document["workers"] if worker]
        state: dict[str, Any] = states[0]
        return state

    def _said(self, reason: str) -> dict[str, Any] | None:
        return next((event for event in self._events if event["reason"] == reason), None)

    def _retrain(self) -> str:
        done = _run("retrain", "--task", self._task, "--json")
        return str(json.loads(done)["bundle"])

    async def _candidate(self, *words: str) -> list[dict[str, Any]]:
        said = await asyncio.to_thread(_run, "candidate", *words, "--admin", self._admin)
        states: list[dict[str, Any]] = json.loads(said)
        return states


def _run(*arguments: str) -> str:
    say(arguments)
    done = subprocess.run(
        [sys.executable, "-c", "from router.cli import run; run()", *arguments],
        env=os.environ | {"RAISEHAND_ADMIN_TOKEN": TOKEN},
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode not in (0, 5):
        raise SystemExit(f"raisehand {' '.join(arguments)} ended with {done.returncode}")
    return done.stdout


def _escalated(routes: Counter[str]) -> float:
    return round(routes["teacher"] / max(1, sum(routes.values())), 4)


def _halves(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Divide by intent: those the student learns from, and those it never sees."""
    intents = sorted({intent for _, _, intent in rows})
    random.Random(1).shuffle(intents)
    known = set(intents[: len(intents) // 2])
    return [r for r in rows if r[2] in known], [r for r in rows if r[2] not in known]


def _read(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as stream:
        return [
            (line["text"].strip(), topic_of(line["category"]), line["category"])
            for line in csv.DictReader(stream)
        ]


def topic_of(intent: str) -> str:
    """Return the topic of an intent, by the words of its name."""
    name = intent.casefold()
    return next((t for t, words in TOPICS.items() if any(word in name for word in words)), "other")


def _write(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("text", "label"))
        writer.writerows({(text, topic) for text, topic, _ in rows})


def _write_task(path: Path, teacher: int, hook: str, options: argparse.Namespace) -> None:
    task = {
        "name": "topics",
        "labels": [*TOPICS, "other"],
        "teacher": {
            "mode": "classify", "base_url": f"http://127.0.0.1:{teacher}", "model": "topics",
            "price": {"usd_per_mtok_input": 1, "usd_per_mtok_output": 1}, "timeout_s": 30,
            "max_concurrency": 64,
        },
        "inputs": {"path": "inputs.csv"},
        "promise": {"agreement": options.agreement},
        "audit_rate": options.audit_rate,
        "work_dir": ".raisehand",
        "store_texts": {"basis": "published data", "mask": False},
        "webhooks": [{"url": hook}],
        "promotion": {"margin": options.margin, "cost_margin": 0.05},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(task, sort_keys=False), encoding="utf-8")


class _Receiver:
    """A receiver of webhooks that fails once and then takes them."""

    def __enter__(self) -> tuple[str, list[dict[str, Any]]]:
        events: list[dict[str, Any]] = []
        failed = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                taken = failed.is_set()
                failed.set()
                if taken:
                    events.append(json.loads(body))
                self.send_response(200 if taken else 503)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}/", events

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of train.csv and test.csv")
    parser.add_argument("--cache", type=Path, default=Path(".raisehand-loop"))
    parser.add_argument("--requests", type=int, default=8_000, help="under the alarm")
    parser.add_argument("--audit-rate", type=float, default=0.3)
    parser.add_argument("--agreement", type=float, default=0.9)
    parser.add_argument("--margin", type=float, default=0.02)
    return parser.parse_args()


if __name__ == "__main__":
    started = time.time()
    main()
    print(f"{time.time() - started:.0f} s", file=sys.stderr)
