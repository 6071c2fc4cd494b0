"""Queueing in closed form: instant answers, and the exact values the simulator is tested against.

Notation: `arrival` and `service` are rates per second, `servers` is c, offered load a =
arrival / service, utilisation a / c. `scv` is a squared coefficient of variation. Waits exclude
service, sojourns include it. Every function raises `Unstable` when work arrives faster than it can
be done.

Exact: Erlang, M/M/c, M/G/1 (Pollaczek-Khinchine), the Burke cascade, M/M(1,b)/1, the deterministic
batch chain. Approximations, and named so: Kingman, Allen-Cunneen, Kimura's tail, Inoue's bound
(an upper bound). The approximations are off by -93 % to +47 % for bursty arrivals at large pools;
only the simulator answers those.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from costmodel.errors import Unstable

Floats = npt.NDArray[np.float64]


def _stable(load: float, what: str) -> None:
    if not load < 1:
        raise Unstable(
            f"{what}: work arrives at {load:.3f} of what can be done, so the queue grows for ever; "
            "add capacity or lower the arrival rate"
        )


def erlang_b(servers: int, load: float) -> float:
    """Share of arrivals lost by c servers without a queue, by the recursion on servers.

    Source: A. K. Erlang (1917); B_k = a B_{k-1} / (k + a B_{k-1}), B_0 = 1.
    """
    lost = 1.0
    for k in range(1, servers + 1):
        lost = load * lost / (k + load * lost)
    return lost


def erlang_c(servers: int, load: float) -> float:
    """Share of arrivals that wait in M/M/c: C = c B / (c - a (1 - B))."""
    _stable(load / servers, f"{servers} servers")
    lost = erlang_b(servers, load)
    return servers * lost / (servers - load * (1 - lost))


@dataclass(frozen=True, slots=True)
class MMc:
    """Exact M/M/c, first come first served."""

    arrival: float
    service: float
    servers: int = 1

    def __post_init__(self) -> None:
        _stable(self.utilisation, "M/M/c")

    @property
    def utilisation(self) -> float:
        """Share of time a server is busy."""
        return self.arrival / (self.service * self.servers)

    @property
    def waiting_probability(self) -> float:
        """Erlang's C."""
        return erlang_c(self.servers, self.arrival / self.service)

    @property
    def wait_s(self) -> float:
        """Mean wait: C / (c mu - lambda)."""
        return self.waiting_probability / (self.servers * self.service - self.arrival)

    @property
    def sojourn_s(self) -> float:
        """Mean wait and service."""
        return self.wait_s + 1 / self.service

    def wait_beyond(self, seconds: float) -> float:
        """P(wait > t) = C exp(-(c mu - lambda) t)."""
        spare = self.servers * self.service - self.arrival
        return self.waiting_probability * math.exp(-spare * seconds)

    def wait_quantile(self, q: float) -> float:
        """Wait that a share q does not exceed; 0 when fewer than 1 - q wait at all."""
        return kimura_wait_quantile(self.arrival, self.service, self.servers, q, 1.0)

    def sojourn_beyond(self, seconds: float) -> float:
        """P(wait + service > t), by the mixture of no wait and an exponential one."""
        c, mu, t = self.servers, self.service, seconds
        spare = c * mu - self.arrival
        waits = self.waiting_probability
        if abs(spare - mu) < 1e-9 * mu:
            return math.exp(-mu * t) * (1 + waits * mu * t)
        tail = (spare * math.exp(-mu * t) - mu * math.exp(-spare * t)) / (spare - mu)
        return (1 - waits) * math.exp(-mu * t) + waits * tail


def servers_needed(arrival: float, service: float, wait_s: float, share: float) -> int:
    """Fewest M/M/c servers that keep the wait within `wait_s` for at least `share` of arrivals."""
    servers = math.floor(arrival / service) + 1
    while MMc(arrival, service, servers).wait_beyond(wait_s) > 1 - share:
        servers += 1
    return servers


def mg1_wait(arrival: float, mean_s: float, scv: float) -> float:
    """Exact mean wait of M/G/1 (Pollaczek 1930, Khinchine 1932): lambda E[S^2] / (2 (1 - rho))."""
    load = arrival * mean_s
    _stable(load, "M/G/1")
    return arrival * mean_s**2 * (1 + scv) / (2 * (1 - load))


def given_up(arrivals: float, services: float, patience_s: float, servers: int = 1) -> float:
    """Share of the customers of an M/M/c queue that leave unserved after `patience_s` of waiting.

    Barrer 1957, "Queuing with impatient customers and ordered service", for c servers: the wait
    that is offered has density v(x) = λ π(c-1) exp(-(cμ - λ) x) up to the patience and falls with
    cμ beyond it, because who would wait longer never joins; the share is v(patience) / cμ.
    """
    together = servers * services
    drift = together - arrivals
    if drift * patience_s > 700:
        return 0.0  # less than the smallest number
    # π(c-1) relative to all states with a free server
    last = arrivals * erlang_b(servers - 1, arrivals / services)
    rise = math.expm1(drift * patience_s)
    within = rise / drift if drift else patience_s
    return last / (together * (1 + rise) + last * (1 + together * within))


def md1_wait(arrival: float, mean_s: float) -> float:
    """Exact mean wait of M/D/1."""
    return mg1_wait(arrival, mean_s, 0.0)


def kingman_wait(arrival: float, mean_s: float, arrival_scv: float, service_scv: float) -> float:
    """APPROXIMATE mean wait of G/G/1 (Kingman 1961): rho/(1-rho) (C2a + C2s)/2 E[S]."""
    load = arrival * mean_s
    _stable(load, "G/G/1")
    return load / (1 - load) * (arrival_scv + service_scv) / 2 * mean_s


def allen_cunneen_wait(
    arrival: float, service: float, servers: int, arrival_scv: float, service_scv: float
) -> float:
    """APPROXIMATE mean wait of G/G/c: M/M/c's times (C2a + C2s)/2."""
    return MMc(arrival, service, servers).wait_s * (arrival_scv + service_scv) / 2


def kimura_wait_quantile(
    arrival: float, service: float, servers: int, q: float, service_scv: float
) -> float:
    """Wait quantile of M/G/c with Kimura's tail: exact at `service_scv` 1, else APPROXIMATE."""
    waits = erlang_c(servers, arrival / service)
    if waits <= 1 - q:
        return 0.0
    spare = servers * service - arrival
    return math.log(waits / (1 - q)) * (1 + service_scv) / (2 * spare)


@dataclass(frozen=True, slots=True)
class BurkeCascade:
    """Exact cascade of unbatched exponential students and exponential teachers.

    The departures of M/M/c are Poisson and independent of its state (Burke, Oper. Res. 4, 1956),
    so a share p of them is Poisson p lambda at the teacher. It ceases to hold once the student
    batches: escalations then come in clumps.
    """

    student: MMc
    teacher: MMc

    @classmethod
    def of(
        cls,
        arrival: float,
        student: tuple[float, int],
        escalation: float,
        teacher: tuple[float, int],
    ) -> BurkeCascade:
        """Build from the arrival rate and (service rate, servers) of each side."""
        return cls(MMc(arrival, *student), MMc(escalation * arrival, *teacher))

    @property
    def sojourn_s(self) -> float:
        """Mean end-to-end time over all requests: W1 + p W2."""
        share = self.teacher.arrival / self.student.arrival
        return self.student.sojourn_s + share * self.teacher.sojourn_s


def bulk_wait(arrival: float, service: float, most: int) -> float:
    """Exact mean wait of M/M(1,b)/1: a server takes min(queue, b), nobody joins a running batch.

    r in (0, 1) solves mu r^(b+1) - (lambda + mu) r + lambda = 0; from the balance equations
    (family: Neuts, Ann. Math. Stat. 38, 1967).
    """
    _stable(arrival / (most * service), f"bulk service of {most}")

    def balance(r: float) -> float:
        return float(service * r ** (most + 1) - (arrival + service) * r + arrival)

    low, high = 0.0, 1 - 1e-12
    while balance(high) >= 0:
        high = 1 - (1 - high) * 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if balance(middle) > 0 else (low, middle)
    r = (low + high) / 2
    idle = 1 / (1 + (arrival / service) / (1 - r))
    queue = (arrival / service) * idle * r / (1 - r) ** 2
    return queue / arrival


@dataclass(frozen=True, slots=True)
class BatchQueue:
    """What the deterministic batch chain says."""

    sojourn_s: float
    """Mean wait and service of one request."""
    mean_waiting: float
    """Mean number waiting when a batch starts."""
    mean_batch: float


def batch_queue(
    arrival: float,
    seconds: Callable[[int], float],
    most: int | None = None,
    states: int = 500,
) -> BatchQueue:
    """Exact queue of one server that takes all that waits, up to `most`, for h(size) seconds.

    The chain on m, the number waiting at a batch start: n = min(m, most) are taken,
    next m = max(1, m - n + Poisson(lambda h(n))). W = E[m h + lambda h^2 / 2] /
    (lambda E[h + 1{m = n} exp(-lambda h) / lambda]), both means over the chain's stationary law.
    The law is cut at `states`, which must be far above the mean number waiting.

    Args:
        arrival: Poisson rate.
        seconds: h(n), time of a batch of n.
        most: largest batch; None takes all.
        states: size of the linear system.
    """
    cap = states if most is None else most
    m = np.arange(1, states + 1)
    taken = np.minimum(m, cap)
    h = np.array([seconds(int(n)) for n in taken])
    _stable(arrival * seconds(cap) / cap, "batch queue")
    step = np.zeros((states, states))
    counts = np.arange(states + 1)
    log_factorial = np.array([math.lgamma(k + 1) for k in counts])
    for i in range(states):
        mean = arrival * h[i]
        law = np.exp(counts * math.log(mean) - mean - log_factorial)
        left = m[i] - taken[i]
        np.add.at(step[i], np.clip(left + counts, 1, states) - 1, law)
        step[i, -1] += max(0.0, 1 - law.sum())
    system = np.r_[(step.T - np.eye(states))[:-1], np.ones((1, states))]
    pi = np.linalg.solve(system, np.r_[np.zeros(states - 1), 1.0])
    work = pi @ (m * h + arrival * h**2 / 2)
    cycle = pi @ (h + np.where(m == taken, np.exp(-arrival * h), 0.0) / arrival)
    return BatchQueue(float(work / (arrival * cycle)), float(pi @ m), float(pi @ taken))


def inoue_bound(arrival: float, per_request_s: float, fixed_s: float) -> float:
    """UPPER BOUND on the mean sojourn of the uncapped batch queue, h(n) = per_request n + fixed.

    Source: Inoue, arXiv:1912.06322, theorem on the mean response time.
    """
    alpha, tau, lam = per_request_s, fixed_s, arrival
    _stable(lam * alpha, "batch queue")
    spare = 1 - lam * alpha
    light = (1 - lam * tau) / (1 + lam * alpha)
    first = (alpha + tau) / (2 * spare) * (1 + 2 * lam * tau + light)
    second = 1.5 * tau / spare + alpha / 2 * (lam * alpha + 2) / (1 - (lam * alpha) ** 2)
    return min(first, second)
