"""The hosted engine beside a reference that takes one step after the other, in plain lists."""

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
import pytest

from costmodel.engine.run import log_calls, simulate
from costmodel.inputs.fleet import StudentFleet
from costmodel.inputs.scenario import HostedTeacher, Policy, Scenario
from costmodel.inputs.workload import Lengths, Workload
from costmodel.kernel import calls
from costmodel.units import DAY_S


@dataclass
class Asked:
    """One request as the reference plays it."""

    at: float
    read: int
    written: int
    computed: int = 0
    tokens: int = 0
    blocks: int = 0
    shared: int = 0
    chunk: int = 0
    first: float = math.nan
    end: float = math.nan


class Reference:
    """One engine, step by step, as vLLM's scheduler (V1) does it; `preempted` counts how often."""

    def __init__(self, engine):
        self.engine, self.size = engine, engine.block_tokens
        self.prefix = int(engine.cached_prompt_tokens) // self.size if engine.prefix_cache else 0
        self.free, self.warm, self.preempted = int(engine.kv_tokens) // self.size, False, 0
        self.waiting, self.running, self.step = deque(), [], []
        self.began = math.inf

    def play(self, requests):
        """Play the requests; first token and end are written into them."""
        coming, now = deque(requests), 0.0
        while coming or self.waiting or self.running:
            if not self.waiting and not self.running:
                now = max(now, coming[0].at)
            while coming and coming[0].at <= now:
                self.waiting.append(coming.popleft())
            self.step, self.budget = [], int(self.engine.prefill_tokens_per_step)
            self.prompts = self.decoding = self.context = 0
            planned = self.began if self.engine.plans_ahead and self.running else math.inf
            if self.all_go_on():
                self.admit(planned)
            self.began = now
            now += (
                self.engine.step_s
                + self.engine.step_per_request_s * self.decoding
                + self.engine.step_per_context_token_s * self.context
                + self.engine.step_per_prefill_token_s * self.prompts
            )
            self.finish(now)

    def held(self, one):
        """Take the blocks for its next chunk, or say no."""
        need = max(0, math.ceil((one.computed + one.chunk) / self.size) - one.shared - one.blocks)
        if need > self.free:
            return False
        self.free, one.blocks = self.free - need, one.blocks + need
        return True

    def give_back(self, one):
        """All of its blocks are free; nothing is computed."""
        self.free += one.blocks
        one.blocks = one.shared = one.computed = 0

    def scheduled(self, one):
        """It is in this step."""
        self.budget -= one.chunk
        self.step.append(one)

    def all_go_on(self):
        """Those that run come first, the last of them pays with its blocks."""
        before = self.preempted
        for one in list(self.running):
            if one not in self.running:
                break
            missing = one.read + one.tokens - one.computed
            one.chunk = min(missing, self.budget)
            while one in self.running and not self.held(one):
                last = self.running.pop()
                self.give_back(last)
                self.waiting.appendleft(last)
                self.preempted += 1
            if one not in self.running:
                break
            self.scheduled(one)
            if missing == 1 and one.tokens:
                self.decoding += one.chunk
                self.context += one.chunk * (one.read + one.tokens)
            else:
                self.prompts += one.chunk
        return self.preempted == before

    def admit(self, planned):
        """Those that wait begin, in order, where they came before the step was planned."""
        while self.waiting and len(self.running) < self.engine.max_running and self.budget:
            one = self.waiting[0]
            if one.at > planned:
                break
            if self.warm:
                one.shared, one.computed = self.prefix, min(self.prefix * self.size, one.read - 1)
            one.chunk = min(one.read + one.tokens - one.computed, self.budget)
            if not self.held(one):
                one.shared = one.computed = 0
                break
            self.running.append(self.waiting.popleft())
            self.scheduled(one)
            self.prompts += one.chunk

    def finish(self, now):
        """Whose context is complete has a token more."""
        for one in self.step:
            one.computed += one.chunk
            if one.chunk and one.computed == one.read + one.tokens:
                one.tokens += 1
                if one.tokens == 1:
                    one.first = now
                    if not self.warm and self.prefix and one.read > self.prefix * self.size:
                        self.warm, one.shared = True, self.prefix
                        one.blocks -= self.prefix
            if one.tokens == one.written:
                one.end = now
                self.give_back(one)
                self.running.remove(one)


def scenario(mean=800.0, per_second=3.0, seconds=400, **teacher):
    """Everything goes to one engine, whose steps are long enough to be counted."""
    fields = {
        "step_s": 0.02, "step_per_request_s": 0.0002, "step_per_context_token_s": 1e-7,
        "step_per_prefill_token_s": 5e-5, "output_tokens": Lengths(mean=60, cv=1.0),
        "prompt_tokens": 0, "timeout_s": 1e6, "kv_tokens": 200_000, "asking": None,
    }  # fmt: skip
    return Scenario(
        name="engine",
        days=seconds / DAY_S,
        workload=Workload(per_second=per_second, tokens=Lengths(mean=mean, cv=1.0)),
        student=StudentFleet(fixed_s=0, per_token_s=0, max_batch=1, replicas=1),
        policy=Policy(escalation_rate=1, audit_rate=0, deadline_s=1e6),
        teacher=HostedTeacher(**fields | teacher),
    )


CASES = {
    "plain": scenario(),
    "long prompts in chunks": scenario(mean=6000, per_second=1, prefill_tokens_per_step=1024),
    "few places": scenario(max_running=4),
    "a small cache": scenario(kv_tokens=12_000),
    "a shared beginning": scenario(prompt_tokens=1000, cached_prompt_tokens=1000),
    "a shared beginning in a small cache": scenario(
        prompt_tokens=1000, cached_prompt_tokens=1000, kv_tokens=16_000, per_second=4
    ),
    "planned ahead": scenario(plans_ahead=True),
    "planned ahead in a small cache": scenario(plans_ahead=True, kv_tokens=12_000),
    "the same without a prefix cache": scenario(
        prompt_tokens=1000, cached_prompt_tokens=1000, prefix_cache=False
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_engine_takes_the_steps_of_the_reference(name):
    """Every request has its first token and its last at the same moment as in the reference."""
    played = CASES[name]
    found = np.sort(log_calls(played, 2, 10_000), order="arrived")
    found = found[found["status"] == calls.OK]
    assert len(found) > 300
    requests = [Asked(float(r["arrived"]), int(r["read"]), int(r["written"])) for r in found]
    plain = Reference(played.teacher)
    plain.play(requests)
    assert found["first_token"] == pytest.approx([one.first for one in requests], abs=1e-6)
    assert found["left"] == pytest.approx([one.end for one in requests], abs=1e-6)
    run = simulate(played, 2)
    assert run.counts["preemptions"] == plain.preempted
    assert (plain.preempted > 0) == ("small cache" in name)
    first = [one.first - one.at for one in requests]
    assert run.stages["first_token"].mean_s == pytest.approx(np.mean(first), rel=1e-6)
    gaps = sum(one.end - one.first for one in requests) / sum(one.written - 1 for one in requests)
    assert run.stages["token_gap"].mean_s == pytest.approx(gaps, rel=1e-6)


def test_a_long_prompt_is_served_beside_the_others():
    """Below saturation the budget of a step changes an answer's time little, however long it is."""
    times = [
        simulate(scenario(mean=6000, per_second=1, prefill_tokens_per_step=budget)).routes[
            "teacher"
        ]
        for budget in (2048.0, 8192.0, 1e9)
    ]
    assert max(t.p50_s for t in times) < 2 * min(t.p50_s for t in times)
    assert max(t.p99_s for t in times) < 3 * min(t.p99_s for t in times)


def test_what_the_cache_cannot_hold_is_refused():
    """9,000 tokens are not served out of a cache of 5,000: nothing is sent, and it is said why."""
    long = scenario(mean=9000, per_second=0.2, seconds=3000, kv_tokens=5000)
    long = long.model_copy(update={"workload": Workload(per_second=0.2, tokens=Lengths(mean=9000))})
    run = simulate(long)
    assert run.counts["teacher_rejected"] == run.counts["wanted_teacher"] > 400
    assert run.counts["teacher_calls"] == run.counts["teacher"] == 0


def test_a_shared_beginning_is_computed_once():
    """With a prefix cache all but the first read it from there, and answers begin sooner."""
    with_, without = (
        simulate(CASES[name]) for name in ("a shared beginning", "the same without a prefix cache")
    )
    read = with_.counts["prefix_tokens"] / with_.counts["teacher"]
    assert read == pytest.approx(992, rel=0.02)
    assert without.counts["prefix_tokens"] == 0
    assert with_.stages["first_token"].mean_s < 0.8 * without.stages["first_token"].mean_s
