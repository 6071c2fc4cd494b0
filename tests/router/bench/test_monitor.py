"""The bench of the alarm runs the monitor that serves."""

import json

import numpy as np
from click.testing import CliRunner

from router.bench.monitor import ALPHA, NEVER, audits_to_alarm, monitor
from router.promise.monitor import Monitor


def test_all_lives_at_once_alarm_where_the_monitor_does():
    """The array and the monitor see the same draws and alarm at the same audit."""
    alarms = audits_to_alarm(lambda i: 0.12, 30, 600, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    draws = np.array([rng.random(30) < 0.12 for _ in range(600)])
    for life in range(30):
        watched, alarm = Monitor(ALPHA), NEVER
        for i, disagreed in enumerate(draws[: min(alarms[life], 600), life]):
            if watched.observe(bool(disagreed), 1.0) and watched.alarmed:
                alarm = i + 1
                break
        assert alarm == alarms[life]


def test_the_bench_prints_what_it_measured():
    """False alarms within their limit; the larger the drift, the sooner the alarm."""
    result = CliRunner().invoke(monitor, ["--lives", "100", "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    assert report["false_alarm_excess"] <= 0
    medians = [d["median"] for d in report["delays"]]
    assert medians == sorted(medians, reverse=True)
