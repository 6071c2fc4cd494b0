"""The OpenAPI description of the hot routes, from the very structs that decode them."""

from __future__ import annotations

from typing import Any

import msgspec

from router.api.decisions import SystemOneReply, SystemOneRequest
from router.api.pass_on import PASSED_ON
from router.schemas import (
    ChatCompletion,
    ChatEnvelope,
    Classified,
    ClassifiedList,
    ClassifyRequest,
    FailedItem,
    FeedbackRequest,
    FeedbackTaken,
    PassedEnvelope,
    VllmClasses,
    VllmClassifyRequest,
)

ERRORS = {
    "400": "The body is not what the surface takes",
    "403": "The API key may not ask this",
    "404": "No task or teacher of that name",
    "408": "The body did not arrive in time",
    "413": "The body is too large",
    "429": "Overloaded; Retry-After says when to come back",
    "503": "Nobody could answer",
    "504": "The deadline passed",
}
_REF = "#/components/schemas/{name}"


def describe(schema: dict[str, Any]) -> dict[str, Any]:
    """Add the hot routes to what FastAPI generated."""
    types = (
        ClassifyRequest, Classified, ClassifiedList, FailedItem, ChatEnvelope, ChatCompletion,
        SystemOneRequest, SystemOneReply, VllmClassifyRequest, VllmClasses,
        PassedEnvelope, FeedbackRequest, FeedbackTaken,
    )  # fmt: skip
    refs, components = msgspec.json.schema_components(types, ref_template=_REF)
    request, one, many, failed, envelope, completion, question, decision, *others = refs
    texts, classes, passed, judged, taken = others
    components["ClassifiedList"]["properties"]["data"]["items"] = {"anyOf": [one, failed]}
    schema["paths"] |= {
        "/v1/classify": _post("Classify a text or a list of texts", request, one, many),
        "/v1/chat/completions": _post(
            "Answer as the teacher would; what is no task's goes to the teacher untouched",
            envelope,
            completion,
        ),
        "/v1/feedback": _post("Say later what the right answer was", judged, taken),
        "/v1/responses": _post(
            "Answer as the teacher would; what is no task's goes to the teacher untouched",
            passed,
            {},
        ),
        "/v1/systemone": _post("Answer one choice question about a text", question, decision),
        "/classify": _post("Classify as vLLM's /classify does", texts, classes),
    }
    schema["paths"] |= {
        f"/v1{path}": _post("What the teacher answers: passed on untouched", passed, {})
        for path in PASSED_ON
    }
    schema.setdefault("components", {}).setdefault("schemas", {}).update(components)
    return schema


def _post(summary: str, request: dict[str, Any], *answers: dict[str, Any]) -> dict[str, Any]:
    answer = answers[0] if len(answers) == 1 else {"anyOf": list(answers)}
    error: dict[str, Any] = {
        "type": "object",
        "properties": {"error": {"type": "object"}},
        "required": ["error"],
    }
    responses = {"200": {"description": "The answer", "content": _json(answer)}}
    responses |= {
        status: {"description": words, "content": _json(error)} for status, words in ERRORS.items()
    }
    return {
        "post": {
            "summary": summary,
            "requestBody": {"required": True, "content": _json(request)},
            "responses": responses,
        }
    }


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
