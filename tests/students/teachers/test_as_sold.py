"""The recipes of docs/teachers.md, each against a server that behaves as its supplier documents."""

import math
import re
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
import yaml
from aiohttp import web

from students.errors import TeacherDenied, TeacherError, TeacherGarbled, TeacherRejected
from students.task import Task
from students.teachers import make_teacher
from students.teachers.usage import is_told

PAGE = Path(__file__).parents[3] / "docs" / "teachers.md"
RECIPES = {
    name: yaml.safe_load(block)["teacher"]
    for name, block in re.findall(r"```yaml\n# ([^\n]+)\n(teacher:.*?)```", PAGE.read_text(), re.S)
}
KEYS = ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY",
        "DEEPSEEK_API_KEY")  # fmt: skip
ORDINARY = {"model", "messages", "max_tokens", "temperature", "logprobs", "top_logprobs"}


def _no(status, message, **more):
    return web.json_response({"error": {"message": message, **more}}, status=status)


def _unknown(body, *names):
    return sorted(set(body) - ORDINARY - {"max_completion_tokens", *names})


def _said(body, *, logprobs, usage=None, **choice):
    """A completion that says urgent, with log-probabilities where they are given and asked for."""
    one = {"index": 0, "finish_reason": "stop", **choice}
    one["message"] = {"role": "assistant", "content": "urgent"}
    if logprobs and body.get("logprobs"):
        listed = [("urgent", 0.9), ("calm", 0.06), ("I", 0.01)]
        top = [{"token": token, "logprob": math.log(p)} for token, p in listed]
        one["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
    told = {"prompt_tokens": 30, "completion_tokens": 1, "total_tokens": 31}
    return {"choices": [one], "usage": usage or told}


def openai(path, query, headers, body):
    """Models that reason refuse what others need."""
    if path != "/v1/chat/completions":
        return _no(404, "Invalid URL")
    if headers.get("Authorization") != "Bearer OPENAI_API_KEY":
        return _no(401, "Incorrect API key provided", code="invalid_api_key")
    return _openais_models(body)


def _openais_models(body):
    if unknown := _unknown(body, "reasoning_effort"):
        return _no(400, f"Unknown parameter: {unknown[0]!r}.", code="unknown_parameter")
    if not body["model"].startswith("gpt-5"):
        return _said(body, logprobs=True)
    if "max_tokens" in body:
        says = "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
        return _no(400, says + "'max_completion_tokens' instead.", code="unsupported_parameter")
    if body.get("temperature", 1) != 1:
        return _no(400, "Unsupported value: 'temperature' does not support 0 with this model.")
    if body.get("logprobs"):
        return _no(403, "You are not allowed to request logprobs from this model")
    return _said(body, logprobs=False, usage={
        "prompt_tokens": 30, "completion_tokens": 65, "total_tokens": 95,
        "completion_tokens_details": {"reasoning_tokens": 64}})  # fmt: skip


def azure(path, query, headers, body):
    """The key goes in a header of its own; by deployment the query names the version."""
    by_deployment = path == "/openai/deployments/my-deployment/chat/completions"
    if not by_deployment and path != "/openai/v1/chat/completions":
        return _no(404, "Resource not found", code="404")
    if by_deployment and query.get("api-version") != "2024-10-21":
        return _no(404, "Resource not found", code="404")
    if headers.get("api-key") != "AZURE_OPENAI_API_KEY":
        return _no(401, "Access denied due to invalid subscription key", code="401")
    if "violent" in body["messages"][-1]["content"]:
        return _no(400, "The response was filtered due to the prompt triggering Azure OpenAI's "
                        "content management policy.", code="content_filter")  # fmt: skip
    return _openais_models({**body, "model": "gpt-4.1-mini"})


def anthropic(path, query, headers, body):
    """Log-probabilities and unknown fields are ignored."""
    if path != "/v1/chat/completions":
        return _no(404, "not_found_error")
    if headers.get("Authorization") != "Bearer ANTHROPIC_API_KEY":
        return _no(401, "invalid x-api-key", type="authentication_error")
    return _said(body, logprobs=False)


def gemini(path, query, headers, body):
    """Unknown fields are refused, in an error that is a list."""
    if path != "/v1beta/openai/chat/completions":
        return web.Response(status=404)
    if headers.get("Authorization") != "Bearer GEMINI_API_KEY":
        error = {"code": 400, "message": "API key not valid. Please pass a valid API key."}
        return web.json_response([{"error": error}], status=400)
    if "logprobs" in body or _unknown(body, "reasoning_effort"):
        error = {"code": 400, "message": 'Invalid JSON payload received. Unknown name "logprobs"'}
        return web.json_response([{"error": error}], status=400)
    return _said(body, logprobs=False)


def deepseek(path, query, headers, body):
    """Cached input has a name of its own."""
    if headers.get("Authorization") != "Bearer DEEPSEEK_API_KEY":
        return _no(401, "Authentication Fails (no such user)")
    return _said(body, logprobs=True, usage={
        "prompt_tokens": 30, "completion_tokens": 1, "total_tokens": 31,
        "prompt_cache_hit_tokens": 16, "prompt_cache_miss_tokens": 14})  # fmt: skip


def vllm(path, query, headers, body):
    """It cuts words for whoever asks, and knows one model."""
    if path == "/tokenize":
        return {"tokens": [1], "token_strs": [body["prompt"]]}
    if body["model"] != "my-llm":
        return _no(404, f"The model `{body['model']}` does not exist.", code=404)
    return _said(body, logprobs=True)


def sglang(path, query, headers, body):
    """There may be no /tokenize."""
    if path != "/v1/chat/completions":
        return web.json_response({"detail": "Not Found"}, status=404)
    return _said(body, logprobs=True)


def ollama(path, query, headers, body):
    """What it does not know it ignores."""
    if path != "/v1/chat/completions":
        return web.Response(status=404)
    return _said(body, logprobs=True)


SUPPLIERS = {"OpenAI": openai, "Azure OpenAI": azure, "Anthropic": anthropic, "Gemini": gemini,
             "DeepSeek": deepseek, "vLLM": vllm, "SGLang": sglang, "Ollama": ollama}  # fmt: skip


@pytest.fixture
def sold(server, tmp_path, monkeypatch):
    """The teacher of a recipe, its supplier's address replaced by a server that behaves so."""
    for name in KEYS:
        monkeypatch.setenv(name, name)

    def make(recipe, **changes):
        supplier = SUPPLIERS[recipe.partition(",")[0]]
        server.answer = lambda path, body: supplier(
            path, server.queries[-1], server.headers[-1], body
        )
        section = {**RECIPES[recipe], **changes}
        asked, here = urlsplit(section["base_url"]), urlsplit(server.base_url)
        section["base_url"] = urlunsplit(asked._replace(scheme="http", netloc=here.netloc))
        return make_teacher(Task.model_validate(
            {"name": "t", "labels": ["calm", "urgent"], "teacher": section,
             "inputs": {"path": tmp_path / "none.csv"}, "work_dir": tmp_path}
        ))  # fmt: skip

    return make


def test_there_is_a_recipe_for_every_supplier():
    """And none for which no server stands here."""
    assert {name.partition(",")[0] for name in RECIPES} == set(SUPPLIERS)


@pytest.mark.parametrize("recipe", RECIPES)
async def test_a_recipe_works_as_it_stands(sold, server, recipe):
    """It passes the check, answers a label and says what it consumed."""
    teacher = sold(recipe)
    await teacher.check()
    (reply,) = await teacher.label(["help"])
    await teacher.aclose()
    assert reply.distribution.label == 1
    assert is_told(reply.usage)
    soft = RECIPES[recipe]["mode"] == "chat"
    assert (0.5 < reply.distribution.probabilities[1] < 1) is soft


@pytest.mark.parametrize(
    ("recipe", "changes", "error", "says"),
    [
        ("Anthropic", {"mode": "chat"}, TeacherGarbled, "no logprobs; .* teacher.mode: text"),
        ("Gemini", {"mode": "chat"}, TeacherRejected, 'Unknown name .* teacher.mode: text'),
        ("Gemini", {"api_key_env": "OPENAI_API_KEY"}, TeacherDenied, "API key not valid"),
        ("OpenAI, a model that reasons", {"extra_body": {}}, TeacherRejected,
         r"'temperature' does not support 0 .*\{temperature: null\}"),
        ("OpenAI, a model that reasons", {"extra_body": {"temperature": None}, "max_tokens": 16},
         TeacherRejected, "'max_tokens' is not supported.*max_tokens: null, max_completion_tokens"),
        ("OpenAI, a model that reasons",
         {"mode": "chat", "extra_body": {"temperature": None, "max_completion_tokens": 16}},
         TeacherDenied, "not allowed to request logprobs"),
        ("Azure OpenAI", {"api_key_header": "Authorization"}, TeacherDenied, "answered 401"),
        ("OpenAI", {"api_key_env": "GEMINI_API_KEY"}, TeacherDenied, "answered 401"),
        ("vLLM", {"model": "other"}, TeacherDenied, "The model `other` does not exist"),
    ],
)  # fmt: skip
async def test_what_a_supplier_cannot_do_is_said_with_the_way_out(
    sold, recipe, changes, error, says
):
    """The supplier's own words, and which field of the task to change."""
    teacher = sold(recipe, **changes)
    with pytest.raises(TeacherError, match=says) as caught:
        await teacher.check()
    await teacher.aclose()
    assert type(caught.value) is error


async def test_azures_filter_belongs_to_the_text(sold):
    """A 400 of the content filter leaves out one text, not the account."""
    teacher = sold("Azure OpenAI")
    with pytest.raises(TeacherRejected) as caught:
        await teacher.label(["something violent"])
    await teacher.aclose()
    assert not isinstance(caught.value, TeacherDenied)


async def test_headers_and_the_key_go_with_every_request(sold, server):
    """The task's own headers stand beside the key's."""
    teacher = sold("OpenAI, a model that reasons")
    await teacher.label(["help"])
    await teacher.aclose()
    assert server.headers[-1]["OpenAI-Project"] == "proj_1"
    assert set(server.asked[-1][1]) == {
        "model", "messages", "max_completion_tokens", "reasoning_effort"
    }  # fmt: skip


@pytest.mark.parametrize("header", ["Authorization", "api-key", "X-API-Key"])
def test_a_key_in_the_task_file_is_refused(make_task, header):
    """Task files are committed; keys come from the environment."""
    with pytest.raises(ValueError, match="api_key_env"):
        make_task(headers={header: "secret"})


@pytest.mark.parametrize("header", ["two words", "line\nbreak", ""])
def test_a_header_that_is_none_is_refused(make_task, header):
    """A name that HTTP does not allow."""
    with pytest.raises(ValueError, match="headers"):
        make_task(headers={header: "1"})


async def test_null_takes_any_field_out(make_task, server):
    """temperature, max_tokens and log-probabilities too."""
    server.answer = lambda path, body: _said(body, logprobs=False)
    extra = dict.fromkeys(["temperature", "max_tokens", "logprobs", "top_logprobs"])
    teacher = make_teacher(make_task(server.base_url, extra_body=extra))
    with pytest.raises(TeacherGarbled, match="no logprobs"):
        await teacher.label(["help"])
    await teacher.aclose()
    assert set(server.asked[-1][1]) == {"model", "messages"}
