"""A task file with a bundle beside it, as the commands that make them leave them."""

import json

import pytest

TASK = """
name: urgent
labels: [urgent, not_urgent]
teacher:
  mode: classify
  base_url: http://127.0.0.1:9101
  model: minilm
  price: {model: "anthropic:claude-sonnet-5-5"}
inputs: {path: inputs.csv}
"""

POINTS = [(0.5, 2629, 210), (0.83, 2367, 68), (0.95, 1840, 18)]

MANIFEST = {
    "format": 1,
    "evaluation": {
        "n": 2629,
        "escalation": {"count": 262, "n": 2629, "rate": 0.0997, "low": 0.088, "high": 0.112},
        "cascade_agreement": {"count": 2561, "n": 2629, "rate": 0.974, "low": 0.96, "high": 0.98},
        "thresholds": [0.83, 0.83],
        "risk_coverage": [
            {
                "threshold": threshold,
                "coverage": kept / 2629,
                "risk": wrong / kept,
                "kept": kept,
                "disagreements": wrong,
                "low": 0.0,
                "high": 1.0,
                "oracle": 0.0,
            }
            for threshold, kept, wrong in POINTS
        ],
    },
    "labelling": {"n": 8000, "usd": "1.37", "price": "words", "labels_sha256": "5ab1e5"},
}

LABELS = {
    "labels_sha256": "5ab1e5",
    "usage": {
        "input_tokens": 412_000,
        "output_tokens": 16_000,
        "cached_input_tokens": 0,
        "requests": 8_000,
    },
}


@pytest.fixture
def task_file(tmp_path):
    """A task file whose latest bundle is abc123."""
    bundle = tmp_path / ".raisehand" / "bundles" / "abc123"
    bundle.mkdir(parents=True)
    (bundle / "manifest.json").write_text(json.dumps(MANIFEST))
    (bundle.parent / "latest").write_text("abc123\n")
    (tmp_path / ".raisehand" / "labels.json").write_text(json.dumps(LABELS))
    path = tmp_path / "task.yaml"
    path.write_text(TASK)
    return path


BASE = """
name: base
days: 0.04
workload: {per_day: 10000000, tokens: {mean: 40}}
student: {fixed_s: 0.00002, per_token_s: 0.000001, replicas: 2,
          price: {machine: "aws:c7i.large", requests_per_second: 2000}}
quality: {kept_disagreement: 0.02, unsure_disagreement: 0.4}
policy: {escalation_rate: 0.112, audit_rate: 0.01}
teacher: {kind: api, latency_s: 0.6, max_concurrency: 64, prompt_tokens: 260,
          price: {model: "openai:gpt-4o"}}
"""

ENGINE = """
name: engine
days: 0.008
workload: {per_second: 30, tokens: {mean: 100, cv: 1.0}}
student: {fixed_s: 0, per_token_s: 0, replicas: 1,
          price: {machine: "aws:c7i.large", requests_per_second: 1000}}
quality: {kept_disagreement: 0.02, unsure_disagreement: 0.4}
policy: {escalation_rate: 1, audit_rate: 0, deadline_s: 100000}
teacher: {kind: hosted, replicas: 1, step_s: 0.0075, step_per_request_s: 0.00003,
          step_per_context_token_s: 5.0e-8, step_per_prefill_token_s: 3.2e-5, kv_tokens: 400000,
          max_running: 256, asking: null,
          prompt_tokens: 0, output_tokens: {mean: 200}, timeout_s: 100000,
          price: {machine: "aws:g6.xlarge", requests_per_second: 20}}
"""

PLAIN_TASK = """
name: tickets
labels: [a, b]
teacher: {mode: classify, base_url: "http://localhost:1", model: m,
          max_concurrency: 64, latency_s: 0.6, price: {model: "openai:gpt-4o"}}
inputs: {path: inputs.csv}
promise: {agreement: 0.975, confidence: 0.95}
student: {family: linear}
traffic: {requests_per_day: 10000000}
"""
GUESS = (
    "--set", "evaluation.n=2600", "--set", "evaluation.escalated=290",
    "--set", "usage.input_tokens=300", "--set", "usage.output_tokens=10",
)  # fmt: skip
"""A task without any bundle: what its evaluation might count."""


def _written(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.fixture
def base_file(tmp_path):
    """Ten million short requests a day and an API teacher with slots enough."""
    return _written(tmp_path, "base.yaml", BASE)


@pytest.fixture
def engine_file(tmp_path):
    """A hosted teacher that answers everything."""
    return _written(tmp_path, "engine.yaml", ENGINE)


@pytest.fixture
def plain_task(tmp_path):
    """A task file without a bundle, and the words that make one up."""
    return ("--task", _written(tmp_path, "plain.yaml", PLAIN_TASK), *GUESS)
