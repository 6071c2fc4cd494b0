"""instructor by each of its modes that leaves the messages as they are, whole and streamed."""

import sys
from typing import Any, Literal

import instructor
import openai
from answers import SYSTEM, USER, Urgency, Verdict, Written, last_of, say
from instructor import Mode

MESSAGES = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": USER}]
MODES = (Mode.TOOLS, Mode.TOOLS_STRICT, Mode.JSON_SCHEMA, Mode.JSON_O1, Mode.RESPONSES_TOOLS)
KINDS: list[Any] = [Verdict, Written, Urgency, Literal["calm", "urgent"]]


def stream(client: Any) -> Any:
    """Return what a stream ended with; `Written`, as its partial models take no enumeration."""
    return last_of(client.create_partial(response_model=Written, **asked))


url, key = sys.argv[1:]
asked: dict[str, Any] = {"model": "big", "messages": MESSAGES, "max_retries": 0}
for mode in MODES:
    sdk = openai.OpenAI(base_url=url, api_key=key, max_retries=0)
    client = instructor.from_openai(sdk, mode=mode)
    for of in KINDS:
        case = f"{mode.name} {getattr(of, '__name__', 'literal')}"
        say(case, client.create, response_model=of, **asked)
    say(f"{mode.name} stream", stream, client)
