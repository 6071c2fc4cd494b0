"""The nearest cascade Ciw has: it batches no service, so the student serves one by one.

Runs in .venv-peers. Reads a JSON object of parameters and prints {"requests", "seconds", ...}.
"""

# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, T201
import json
import math
import sys
import time

import ciw


def cascade(p):
    """Student node, then with probability `escalation` a teacher node; return mean seconds."""
    sigma = math.sqrt(math.log1p(p["teacher_cv"] ** 2))
    alone = p["fixed_s"] + p["per_token_s"] * p["token_mean"]
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(p["arrival"]), None],
        service_distributions=[
            ciw.dists.Deterministic(alone),
            ciw.dists.Lognormal(math.log(p["teacher_s"]) - sigma**2 / 2, sigma),
        ],
        routing=[[0.0, p["escalation"]], [0.0, 0.0]],
        number_of_servers=[p["replicas"], p["slots"]],
    )
    ciw.seed(p["seed"])
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_customers(p["requests"], method="Arrive")
    return len(simulation.get_all_records())


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    begun, began = time.perf_counter(), time.process_time()
    records = cascade(told)
    taken, cpu = time.perf_counter() - begun, time.process_time() - began
    print(
        json.dumps(
            {
                "requests": told["requests"],
                "seconds": taken,
                "cpu_seconds": cpu,
                "records": records,
                "version": ciw.__version__,
                "scenario": "unbatched student, then teacher slots",
            }
        )
    )
