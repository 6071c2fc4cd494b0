"""`raisehand keys`."""

import json

import pytest
from click.testing import CliRunner

from router.commands.keys import keys
from router.errors import BadSettings
from router.keys.ring import KeyRing, load_keys


def _run(*arguments):
    return CliRunner().invoke(keys, arguments)


def test_a_made_key_opens_the_door(tmp_path):
    """What `add` prints is the key whose hash is in the file, with its limits."""
    file = str(tmp_path / "keys.yaml")
    secret = _run("add", "team-a", "--rps", "5", "--usd-per-day", "2.50", "--file", file).stdout
    specs = load_keys(tmp_path / "keys.yaml")
    headers = [(b"authorization", b"Bearer " + secret.strip().encode())]
    assert KeyRing(specs).identify(headers).name == "team-a"
    assert (specs[0].requests_per_second, str(specs[0].max_usd_per_day)) == (5.0, "2.50")


def test_list_shows_limits_and_no_hash(tmp_path):
    """Names and limits, for people and as JSON."""
    file = str(tmp_path / "keys.yaml")
    _run("add", "a", "--file", file)
    _run("add", "b", "--rps", "2", "--priority", "1", "--file", file)
    table, document = _run("list", "--file", file).output, _run("list", "--json", "--file", file)
    assert "any rate" in table
    assert [key["name"] for key in json.loads(document.output)] == ["a", "b"]
    assert load_keys(tmp_path / "keys.yaml")[0].sha256 not in table + document.output


def test_remove_takes_one_key_out(tmp_path):
    """The others stay."""
    file = str(tmp_path / "keys.yaml")
    _run("add", "a", "--file", file)
    _run("add", "b", "--file", file)
    _run("remove", "a", "--file", file)
    assert [key.name for key in load_keys(tmp_path / "keys.yaml")] == ["b"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("add", "a"), "has a key named 'a' already"),
        (("add", "no spaces"), "name: "),
        (("add", "b", "--rps", "-1"), "requests_per_second: "),
        (("remove", "c"), "has no key named 'c'; it has a"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, arguments, words):
    """What cannot be done says why, and changes nothing."""
    file = str(tmp_path / "keys.yaml")
    _run("add", "a", "--file", file)
    result = _run(*arguments, "--file", file)
    assert isinstance(result.exception, BadSettings)
    assert words in str(result.exception)
    assert [key.name for key in load_keys(tmp_path / "keys.yaml")] == ["a"]


def test_a_key_can_be_made_that_may_not_ask_the_student_alone(tmp_path):
    """Certificate and audit hold for whoever has it; the list says so."""
    file = str(tmp_path / "keys.yaml")
    _run("add", "a", "--file", file)
    _run("add", "b", "--no-student-only", "--file", file)
    assert [key.student_only for key in load_keys(tmp_path / "keys.yaml")] == [True, False]
    first, second = _run("list", "--file", file).output.splitlines()
    assert "student alone" not in first
    assert "may not ask the student alone" in second
