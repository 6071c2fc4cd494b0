"""Surfaces that only a teacher answers: POST /v1/completions and /v1/embeddings.

No student speaks for them; they are passed on by the rules of `router.service.passthrough`, so that
an application which changed its base URL goes on working.
"""

from __future__ import annotations

import msgspec

from router.errors import BadRequest
from router.http.edge import parse
from router.http.hot_route import Call, Reply, Single
from router.schemas import PassedEnvelope
from router.service.service import Service, refuse_student_only

PASSED_ON = ("/completions", "/embeddings")
"""Below /v1, as below the teacher's base URL."""
_HELP = "Send it as to the teacher, with the `model`."


class PassOn:
    """Passes one path on."""

    def __init__(self, service: Service, path: str) -> None:
        self._service = service
        self._path = path
        self._decode = msgspec.json.Decoder(PassedEnvelope).decode

    async def __call__(self, call: Call) -> Reply | None:
        """Send the teacher's answer back and return None.

        Raises:
            Refusal: the body is wrong, the model is not passed on, or nobody could answer.
        """
        envelope = parse(self._decode, call.body, _HELP)
        refuse_student_only(envelope.student_only)
        if envelope.background:
            raise BadRequest(
                "An answer in the `background` would be billed where nobody sees it, and cannot "
                "be fetched here; leave `background` out."
            )
        passthrough = self._service.passthrough_of(envelope.model)
        streams = bool(envelope.stream)
        await passthrough.forward(call, path=self._path, model=envelope.model, streams=streams)
        return None

    def single(self, call: Call) -> Single | None:
        """Leave every call to `__call__`: none is a student's."""
        return None
