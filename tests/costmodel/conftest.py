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
