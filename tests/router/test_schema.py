"""The OpenAPI description is true: whatever it allows or forbids, no answer is a server error."""

from __future__ import annotations

from contextlib import suppress

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

from router.bench.process import python_subject

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def api():
    """A real router on a loopback port, described by itself."""
    with python_subject("router.bench.servers.target", 0) as subject:
        yield schemathesis.openapi.from_url(f"http://127.0.0.1:{subject.port}/openapi.json")


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_no_generated_request_is_a_server_error(api, mode):
    """Valid and invalid requests of every operation are answered, and never with a 5xx."""
    seen = set()
    for operation in api.get_all_operations():

        @settings(
            max_examples=30,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.filter_too_much],  # no name of a model is wrong
        )
        @given(case=operation.ok().as_strategy(generation_mode=mode))
        def check(case):
            response = case.call()
            seen.add((case.operation.path, response.status_code))
            assert response.status_code < 500, response.text
            if response.status_code >= 400:
                assert set(response.json()) == {"error"}

        with suppress(Unsatisfiable):  # an operation without parameters cannot be called wrongly
            check()
    assert {path for path, _ in seen} >= {"/v1/classify", "/v1/chat/completions", "/v1/systemone"}
