"""vLLM as others measured it on H100s: stages that nothing was fitted on, and by how much we err.

From `default_args/*/results/stage_*_lifecycle_metrics.json` of inference-sim/training (commit
c4f0340, February 2026): inference-perf before vLLM with 2,048 tokens a step and 128 sequences, ten
or twenty minutes a stage, 3,000 to 12,000 requests, Poisson arrivals, 100 prompts that come again
and again (taken as cached), output of a fixed length. Logs of single requests are not published.
The engines are played as planning a step ahead, which is what their first tokens show under load.
"""

from typing import NamedTuple

import pytest

from costmodel.engine.run import simulate
from costmodel.inputs.fleet import StudentFleet
from costmodel.inputs.scenario import HostedTeacher, Policy, Scenario
from costmodel.inputs.workload import Lengths, Workload
from costmodel.queueing.roofline import GPUS, DecoderShape, step_fields


class Engine(NamedTuple):
    """Fitted on two stages' medians: their end-to-end times and, the API's share, first tokens."""

    step_s: float
    context_s: float
    api_s: float
    kv_tokens: float


class Stage(NamedTuple):
    """What was offered and, in seconds, what was measured."""

    per_second: float
    prompt: int
    output: int
    p50_s: float
    p99_s: float
    first_p50_s: float
    first_p99_s: float


LLAMA_7B = Engine(5.946e-3, 1.845e-7, 7.4e-3, 105e3)
"""Llama-2-7b on one H100; fitted on 5/s and 20/s."""
LLAMA_70B = Engine(15.91e-3, 8.07e-8, 10.0e-3, 400e3)
"""Llama-2-70b on four H100; fitted on 5/s and 20/s."""
SMALL = {
    "5/s, fitted": Stage(5, 592, 247, 1.7966, 2.1888, 0.02426, 0.04597),
    "10/s": Stage(10, 592, 247, 2.2148, 2.5800, 0.02892, 0.05075),
    "8/s": Stage(8, 575, 248, 2.0503, 2.4018, 0.02680, 0.03658),
    "6/s, longer prompts": Stage(6, 786, 251, 2.0661, 2.3993, 0.02683, 0.03826),
    "20/s, fitted": Stage(20, 575, 248, 4.1230, 5.2405, 0.05109, 0.07248),
}
LARGE = {
    "5/s, fitted": Stage(5, 593, 247, 4.2880, 5.5677, 0.05122, 0.10623),
    "10/s": Stage(10, 593, 247, 4.7424, 4.8530, 0.05664, 0.06767),
    "8/s": Stage(8, 575, 248, 4.6659, 6.4503, 0.05519, 0.12062),
    "6/s, longer prompts": Stage(6, 787, 251, 4.5419, 5.9345, 0.05348, 0.09626),
    "20/s, fitted": Stage(20, 575, 248, 5.5148, 6.6561, 0.06826, 0.98682),
}


def played(engine, stage):
    """The same stage by our engine: p50 and p99 of the whole call and of its first token."""
    teacher = HostedTeacher(
        step_s=engine.step_s,
        step_per_request_s=0,
        step_per_context_token_s=engine.context_s,
        step_per_prefill_token_s=0,
        kv_tokens=engine.kv_tokens,
        max_running=128,
        prefill_tokens_per_step=2048,
        plans_ahead=True,
        prompt_tokens=stage.prompt - 1,
        cached_prompt_tokens=stage.prompt - 1,
        output_tokens=Lengths(mean=stage.output),
        timeout_s=1e6,
        asking=None,
    )
    scenario = Scenario(
        name="published",
        workload=Workload(per_second=stage.per_second, tokens=Lengths(mean=1)),
        days=1200 / 86_400,
        student=StudentFleet(fixed_s=0, per_token_s=0),
        policy=Policy(escalation_rate=1, audit_rate=0, deadline_s=1e6),
        teacher=teacher,
    )
    stages = simulate(scenario, 1).stages
    whole, first = stages["teacher"], stages["first_token"]
    return [
        engine.api_s + seconds for seconds in (whole.p50_s, whole.p99_s, first.p50_s, first.p99_s)
    ]


HELD_OUT = ["10/s", "8/s", "6/s, longer prompts"]


@pytest.mark.parametrize("name", HELD_OUT)
@pytest.mark.parametrize(("engine", "stages"), [(LLAMA_7B, SMALL), (LLAMA_70B, LARGE)])
def test_medians_of_stages_that_nothing_was_fitted_on(engine, stages, name):
    """Other rates and prompts: the whole call and its first token within 5 %."""
    stage = stages[name]
    p50_s, _, first_p50_s, _ = played(engine, stage)
    assert p50_s == pytest.approx(stage.p50_s, rel=0.05)
    assert first_p50_s == pytest.approx(stage.first_p50_s, rel=0.05)


@pytest.mark.parametrize("name", HELD_OUT)
def test_the_slowest_hundredth_of_calls(name):
    """p99 of the whole call within 5 %, none of it fitted."""
    assert played(LLAMA_7B, SMALL[name])[1] == pytest.approx(SMALL[name].p99_s, rel=0.05)


@pytest.mark.parametrize(("engine", "stages"), [(LLAMA_7B, SMALL), (LLAMA_70B, LARGE)])
def test_an_engine_that_plans_a_step_ahead_answers_first_under_load_as_measured(engine, stages):
    """From 5/s to 20/s the first token's median moves with 2.5 steps; with 1.5 it was 22 % off."""
    for name in ("5/s, fitted", "20/s, fitted"):
        first_p50_s = played(engine, stages[name])[2]
        assert first_p50_s == pytest.approx(stages[name].first_p50_s, rel=0.06)


def test_a_server_at_its_limit_of_sequences():
    """At 20/s the large model runs out of its 128 places: first tokens wait up to a second.

    Its first tokens' p99, fourteen times their median, was not fitted.
    """
    stage = LARGE["20/s, fitted"]
    p50_s, p99_s, first_p50_s, first_p99_s = played(LLAMA_70B, stage)
    assert p50_s == pytest.approx(stage.p50_s, rel=0.02)
    assert p99_s == pytest.approx(stage.p99_s, rel=0.05)
    assert first_p50_s == pytest.approx(stage.first_p50_s, rel=0.06)
    assert first_p99_s == pytest.approx(stage.first_p99_s, rel=0.35)


@pytest.mark.parametrize("name", HELD_OUT)
def test_a_datasheet_alone_is_within_its_tens_of_per_cent(name):
    """No step was measured: p50 and p99 of the whole call are 7 to 13 % too high."""
    fields = step_fields(GPUS["h100-sxm"], DecoderShape(parameters=6.74e9, layers=32, kv_heads=32))
    engine = Engine(
        fields["step_s"],
        fields["step_per_context_token_s"],
        LLAMA_7B.api_s,
        fields["kv_tokens"],
    )
    assert played(engine, SMALL[name])[:2] == pytest.approx(SMALL[name][3:5], rel=0.15)
