"""pydantic-ai's agents by each kind of output, whole and streamed."""

import asyncio
import itertools
import sys
from typing import Any, Literal

from answers import SYSTEM, USER, Urgency, Verdict, Written, say
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

OUTPUTS: dict[str, Any] = {
    "model": Verdict,
    "literal": Written,
    "bare enum": Urgency,
    "bare literal": Literal["calm", "urgent"],
    "tool": ToolOutput(Verdict, name="sort", description="Sort it."),
    "tool, not strict": ToolOutput(Verdict, strict=False),
    "native": NativeOutput(Verdict),
    "native, not strict": NativeOutput(Verdict, strict=False),
    "native enum": NativeOutput(Urgency),
}


async def whole(agent: Agent[None, Any]) -> Any:
    """Return what an agent came to."""
    return (await agent.run(USER)).output


async def stream(agent: Agent[None, Any]) -> Any:
    """Return what a stream ended with."""
    async with agent.run_stream(USER) as run:
        return await run.get_output()


url, key = sys.argv[1:]
provider = OpenAIProvider(base_url=url, api_key=key)
models = (OpenAIChatModel("big", provider=provider), OpenAIResponsesModel("big", provider=provider))
with asyncio.Runner() as runner:  # one loop for all: connections belong to theirs
    for model, (case, output) in itertools.product(models, OUTPUTS.items()):
        for field in ("instructions", "system_prompt"):
            agent: Agent[None, Any] = Agent(model, output_type=output, retries=0, **{field: SYSTEM})
            say(f"{type(model).__name__} {case}, {field}", runner.run, whole(agent))
            say(f"{type(model).__name__} {case}, {field}, stream", runner.run, stream(agent))
