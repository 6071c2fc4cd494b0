"""The same cascade in SimPy: batching student, escalations, teacher slots. Runs in .venv-peers.

Reads a JSON object of parameters from the command line and prints {"requests", "seconds", ...}.
"""

# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, ANN202, C901, T201
import json
import math
import random
import sys
import time

import simpy


def cascade(p):
    """Run p["requests"] arrivals; return the mean end-to-end seconds and the escalations."""
    env, rng = simpy.Environment(), random.Random(p["seed"])
    queue = []
    teacher = simpy.Resource(env, capacity=p["slots"])
    sigma = math.sqrt(math.log1p(p["teacher_cv"] ** 2))
    mu = math.log(p["token_mean"]) - math.log1p(p["token_cv"] ** 2) / 2
    spread = math.sqrt(math.log1p(p["token_cv"] ** 2))
    total, answered, escalated = 0.0, 0, 0
    wake = []

    def escalate(arrived):
        nonlocal total, answered
        with teacher.request() as slot:
            yield slot
            yield env.timeout(p["teacher_s"] * math.exp(sigma * rng.gauss(0, 1) - sigma**2 / 2))
        total += env.now - arrived
        answered += 1

    def replica():
        nonlocal total, answered, escalated
        while True:
            if not queue:
                alarm = env.event()
                wake.append(alarm)
                yield alarm
            if not queue:
                continue
            batch, queue[:] = queue[: p["max_batch"]], queue[p["max_batch"] :]
            yield env.timeout(p["fixed_s"] + p["per_token_s"] * sum(t for _, t in batch))
            for arrived, _ in batch:
                if rng.random() < p["escalation"]:
                    escalated += 1
                    env.process(escalate(arrived))
                else:
                    total += env.now - arrived
                    answered += 1

    def source():
        for _ in range(p["requests"]):
            yield env.timeout(rng.expovariate(p["arrival"]))
            queue.append((env.now, math.exp(mu + spread * rng.gauss(0, 1))))
            if wake:
                wake.pop().succeed()

    for _ in range(p["replicas"]):
        env.process(replica())
    env.process(source())
    env.run()
    return total / answered, escalated


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    begun, began = time.perf_counter(), time.process_time()
    mean_s, escalated = cascade(told)
    taken, cpu = time.perf_counter() - begun, time.process_time() - began
    print(
        json.dumps(
            {
                "requests": told["requests"],
                "seconds": taken,
                "cpu_seconds": cpu,
                "mean_s": mean_s,
                "version": simpy.__version__,
                "scenario": "the same cascade",
            }
        )
    )
