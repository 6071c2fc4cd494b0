"""One real request before a load test: a dead or wrong target is said in one sentence."""

from __future__ import annotations

import http.client
import json
import os
from decimal import Decimal

from loadtests.errors import BadLoadSpec, DeadTarget
from loadtests.inputs.route import route_of
from loadtests.inputs.spec import LoadSpec, Surface
from loadtests.inputs.surface import PATHS, body_of, decimal_of, label_of

ADVICE = {
    401: "set api_key_env to the variable that holds a valid key",
    403: "set api_key_env to the variable that holds a valid key",
    404: "check the URL and --surface",
    405: "check the URL and --surface",
    400: "check --surface, --text and the chat template",
    422: "check --surface, --text and the chat template",
}


def request_headers(spec: LoadSpec) -> dict[str, str]:
    """Return the headers of every request.

    Raises:
        BadLoadSpec: the environment variable that should hold the key is not set.
    """
    headers = {"content-type": "application/json"}
    if spec.api_key_env is not None:
        key = os.environ.get(spec.api_key_env)
        if not key:
            raise BadLoadSpec(
                f"api_key_env: the environment variable {spec.api_key_env} is not set"
            )
        headers["authorization"] = f"Bearer {key}"
    return headers


def try_target(spec: LoadSpec, text: str) -> Decimal | None:
    """Ask one input; return what the answer cost, if it says.

    A 429 or 5xx is the target's own answer under its present conditions, so it passes.

    Raises:
        DeadTarget: nothing listens, no HTTP, a wrong key, a wrong path, or no answer in the reply.
        BadLoadSpec: the student alone is wanted, and the target asks whom it likes.
    """
    route = route_of(spec)
    connection = route.connection(spec.timeout_s)
    path = route.base + PATHS[spec.surface]
    headers = request_headers(spec)
    try:
        connection.request("POST", path, body_of(spec, text), headers)
        response = connection.getresponse()
        body = response.read()
    except TimeoutError:
        raise DeadTarget(
            f"{spec.url} did not answer within {spec.timeout_s:g} s; is the server running?"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise DeadTarget(
            f"nothing answers at {spec.url} ({' '.join(str(error).split())}); start the server or "
            "correct --url"
        ) from None
    finally:
        connection.close()
    if response.status in ADVICE:
        raise DeadTarget(
            f"{spec.url}{PATHS[spec.surface]} answered {response.status} "
            f"({body[:160].decode(errors='replace')}); {ADVICE[response.status]}"
        )
    if response.status == 200 and label_of(spec.surface, body) is None:
        raise DeadTarget(
            f"{spec.url}{PATHS[spec.surface]} answered 200 without a label: "
            f"{body[:160].decode(errors='replace')!r}; check the URL and --surface"
        )
    if spec.student_only and response.status == 200 and not _is_alone(spec.surface, body):
        raise BadLoadSpec(
            f"{spec.url} does not say that its student alone answered: it is no raisehand router, "
            "and what it was asked may cost; leave out student_only"
        )
    return decimal_of(response.getheader("x-raisehand-cost-usd"))


def _is_alone(surface: Surface, body: bytes) -> bool:
    """Whether a reply says that the student alone was asked."""
    reply = json.loads(body)
    answer = reply["data"][0] if surface == "batch" else reply
    return dict(answer.get("raisehand") or {}).get("reason") == "student_only"
