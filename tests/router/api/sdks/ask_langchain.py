"""LangChain's `with_structured_output` by its methods: whole, streamed, asynchronous."""

import asyncio
import itertools
import sys
from typing import Any

from answers import SYSTEM, USER, Verdict, Written, last_of, say
from langchain_openai import ChatOpenAI

MESSAGES = [("system", SYSTEM), ("user", USER)]
OPTIONS: list[tuple[Any, dict[str, Any]]] = [
    (Verdict, {}),
    (Verdict, {"strict": True}),
    (Verdict, {"include_raw": True}),
    (Written, {}),
    (Verdict.model_json_schema(), {}),
]

url, key = sys.argv[1:]
with asyncio.Runner() as runner:  # one loop for all: connections belong to theirs
    for responses, method in itertools.product((False, True), ("json_schema", "function_calling")):
        model = ChatOpenAI(
            model="big", base_url=url, api_key=key, max_retries=0, temperature=0,
            use_responses_api=responses,
        )  # fmt: skip
        for schema, options in OPTIONS:
            chain = model.with_structured_output(schema, method=method, **options)
            of = getattr(schema, "__name__", "dict")
            case = f"{'responses ' * responses}{method} {of} {options}"
            say(case, chain.invoke, MESSAGES)
            say(f"{case} async", runner.run, chain.ainvoke(MESSAGES))
            if "include_raw" not in options:  # there the parts are to be added up
                say(f"{case} stream", last_of, chain.stream(MESSAGES))
