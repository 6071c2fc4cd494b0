"""Datasheet arithmetic: shapes, orders of magnitude, and what does not fit."""

import pytest

from costmodel.errors import BadScenario
from costmodel.inputs.scenario import HostedTeacher, load
from costmodel.queueing.roofline import GPUS, DecoderShape, gpu_named, step_fields


def hosted_teacher(gpu, model):
    """A teacher with the roofline's step times."""
    return HostedTeacher(**step_fields(gpu, model))


LLAMA_8B = DecoderShape(parameters=8.03e9, layers=32, kv_heads=8)
LLAMA_70B = DecoderShape(parameters=70.55e9, layers=80, kv_heads=8)


def test_shapes_have_their_known_bytes():
    """Published figures of Llama 3.1 8B and Llama 2 70B: weights and cache per token."""
    assert LLAMA_8B.weight_bytes == pytest.approx(16.06e9, rel=1e-3)
    assert (LLAMA_8B.kv_bytes, LLAMA_70B.kv_bytes) == (131_072, 327_680)


def test_a_step_reads_the_weights_once():
    """8B in 16 bits on an H100: about 6 ms of memory traffic and 1.3 ms of overhead."""
    teacher = hosted_teacher(GPUS["h100-sxm"], LLAMA_8B)
    assert teacher.step_s == pytest.approx(16.06e9 / 2.68e12 + 0.00132, rel=1e-3)
    assert teacher.kv_tokens == pytest.approx((72e9 - 16.06e9 - 3.5e9) / 131_072)


def test_more_bandwidth_is_a_faster_step_and_half_the_bytes_too():
    """H200 beats H100 at decode; 8-bit weights beat 16."""
    slow = hosted_teacher(GPUS["h100-sxm"], LLAMA_8B)
    assert hosted_teacher(GPUS["h200-sxm"], LLAMA_8B).step_s < slow.step_s
    half = hosted_teacher(GPUS["h100-sxm"], LLAMA_8B.model_copy(update={"bytes_per_weight": 1.0}))
    assert half.step_s < slow.step_s
    assert half.step_per_prefill_token_s == pytest.approx(slow.step_per_prefill_token_s / 2)


def test_what_does_not_fit_is_refused():
    """70B in 16 bits does not fit one 80 GB card; the sentence says what to do."""
    with pytest.raises(BadScenario, match=r"141\.1 GB of weights do not fit h100-sxm"):
        hosted_teacher(GPUS["h100-sxm"], LLAMA_70B)
    with pytest.raises(BadScenario, match="no GPU is named 'h900'; the known ones are h100-sxm"):
        gpu_named("h900")


def test_a_scenario_file_names_gpu_and_shape(tmp_path):
    """The roofline fills what the file leaves open; a bad shape is one sentence."""
    path = tmp_path / "s.yaml"
    text = (
        "name: r\nworkload: {per_day: 1e6}\npolicy: {escalation_rate: 0.1}\n"
        "teacher: {kind: hosted, step_s: 0.5, roofline: {gpu: l4, parameters: 1e9, layers: 16, "
        "kv_heads: 8}}\n"
    )
    path.write_text(text)
    teacher = load(path).teacher
    assert teacher.step_s == 0.5
    assert teacher.step_per_prefill_token_s == pytest.approx(2e9 / (121e12 * 0.5))
    for found, words in (("l4", "no GPU is named 'l9'"), ("1e9", "teacher.roofline.parameters")):
        path.write_text(text.replace(found, {"l4": "l9", "1e9": "-1"}[found]))
        with pytest.raises(BadScenario, match=words):
            load(path)
