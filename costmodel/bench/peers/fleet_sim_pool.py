"""vllm-sr-sim (import name fleet_sim): one pool of slots. Runs in .venv-peers.

It has no cascade: the nearest scenario is a pool of `slots` concurrent sequences on one GPU whose
service times are constants by construction (H = 0), so that the answer is known: at `load` times
the pool's capacity slots / S it is M/M/c with exponential lengths. Reads a JSON object, prints
speed, mean wait and throughput.
"""

# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, T201
import json
import random
import sys
import time
from importlib.metadata import version

from fleet_sim.core.fleet import Fleet, FleetConfig, PoolConfig
from fleet_sim.core.request import Request
from fleet_sim.gpu_profiles.manual import ManualProfile

CONTEXT = 8192


def pool(p):
    """Run Poisson arrivals at p["load"] of capacity; return wait, rate, wall and core seconds."""
    step_s, mean_tokens = 0.01, 100
    gpu = ManualProfile(
        name="constant", W=step_s, H=0.0, chunk=512, blk_size=16,
        total_kv_blks=10**9, max_slots=p["slots"], cost_per_hr=1.0,
    )  # fmt: skip
    rng = random.Random(p["seed"])
    # one prefill iteration and an exponential number of decode iterations
    service_s = step_s * (1 + mean_tokens)
    arrival, at, sent = p["load"] * p["slots"] / service_s, 0.0, []
    for k in range(p["requests"]):
        at += rng.expovariate(arrival)
        written = max(1, round(rng.expovariate(1 / mean_tokens)))
        sent.append((at, Request(req_id=k, arrival_time=at, l_in=100, l_out=written)))
    fleet = Fleet(
        FleetConfig(
            pools=[PoolConfig(pool_id="one", gpu=gpu, n_gpus=1, max_ctx=CONTEXT)],
            router_type="LengthRouter",
            router_kwargs={"threshold": CONTEXT},
        )
    )
    begun, began = time.perf_counter(), time.process_time()
    result = fleet.run(sent)
    taken, cpu = time.perf_counter() - begun, time.process_time() - began
    done = [request for request in result.completed if request.end_time is not None]
    waits = [request.start_time - request.arrival_time for request in done]
    last = max(request.end_time for request in done)
    return sum(waits) / len(waits), len(done) / last, taken, cpu, service_s


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    wait_s, per_s, taken, cpu, service_s = pool(told)
    print(
        json.dumps(
            {
                "requests": told["requests"],
                "seconds": taken,
                "cpu_seconds": cpu,
                "wait_s": wait_s,
                "throughput_per_s": per_s,
                "capacity_per_s": told["slots"] / service_s,
                "service_s": service_s,
                "version": version("vllm-sr-sim"),
                "scenario": "one pool of slots, no cascade",
            }
        )
    )
