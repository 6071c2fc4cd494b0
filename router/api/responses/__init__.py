"""OpenAI's Responses API: a task's question is answered, the rest is passed on."""
