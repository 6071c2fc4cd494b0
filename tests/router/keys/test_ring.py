"""API keys: hashed, compared in constant time, limited in rate and spend."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from router.errors import BadSettings, OverQuota, Unauthorized
from router.keys.ring import KeyRing, KeySpec, changing, load_keys, new_secret, save_keys, sha256_of
from router.testing import ManualClock

SECRET = "rh-correct-horse"
HASH = "0" * 64


def _spec(name="team-a", secret=SECRET, **limits):
    return KeySpec(name=name, sha256=sha256_of(secret), **limits)


def _bearer(secret):
    return [(b"authorization", b"Bearer " + secret.encode())]


@pytest.mark.parametrize(
    "headers",
    [
        _bearer(SECRET),
        [(b"authorization", b"bearer " + SECRET.encode())],
        [(b"x-api-key", SECRET.encode())],
        [(b"api-key", SECRET.encode())],
    ],
)
def test_a_known_key_is_identified(headers):
    """As OpenAI's clients send it, in any case of `Bearer`, as x-api-key, and as Azure's do."""
    assert KeyRing([_spec("other", "x"), _spec()]).identify(headers).name == "team-a"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        _bearer(""),
        _bearer(SECRET[:-1]),
        _bearer(SECRET + "x"),
        [(b"authorization", b"Basic " + SECRET.encode())],
        [(b"authorization", b"\xff\xfe")],
        _bearer(SECRET) + _bearer("other"),
        _bearer(SECRET) + _bearer(SECRET),
        [*_bearer(SECRET), (b"x-api-key", SECRET.encode())],
        _bearer(sha256_of(SECRET)),
    ],
)
def test_everything_else_is_refused_in_the_same_words(headers):
    """Missing, wrong, doubled and ambiguous keys, and the hash itself, cannot be told apart."""
    assert str(_refusal_of(headers)) == str(_refusal_of([]))


def test_keys_are_read_again_without_a_restart():
    """A removed key is unknown at once, a new one known; a kept one has not got its money back."""

    def spec(name, usd=None):
        return KeySpec(name=name, sha256=sha256_of(name), max_usd_per_day=usd)

    ring = KeyRing([spec("gone"), spec("kept", 5)])
    ring.spend("kept", Decimal(4))
    ring.replace([spec("kept", 3), spec("new")])
    with pytest.raises(Unauthorized):
        ring.identify(_bearer("gone"))
    assert ring.identify(_bearer("new")).name == "new"
    with pytest.raises(OverQuota):
        ring.identify(_bearer("kept")).admit()


def test_rate_of_a_key_is_limited_and_says_when_to_come_back():
    """Ten a second: ten pass at once, the next waits a tenth of a second."""
    clock = ManualClock()
    key = KeyRing([_spec(requests_per_second=10)], clock=clock).identify(_bearer(SECRET))
    for _ in range(10):
        key.admit()
    with pytest.raises(OverQuota) as caught:
        key.admit()
    assert caught.value.retry_after_s == pytest.approx(0.1)
    clock.now += 0.11
    key.admit()


def test_a_rate_below_one_a_second_still_lets_one_pass():
    """One request a minute is one request a minute, not none."""
    clock = ManualClock()
    key = KeyRing([_spec(requests_per_second=1 / 60)], clock=clock).identify(_bearer(SECRET))
    key.admit()
    clock.now += 59
    with pytest.raises(OverQuota):
        key.admit()
    clock.now += 2
    key.admit()


def test_budget_of_the_day_blocks_and_begins_anew_at_midnight_utc():
    """What is spent counts up to the limit; a new UTC day starts at 0."""
    wall = ManualClock(now=86_400.0 * 20_000 + 86_000.0)
    ring = KeyRing([_spec(max_usd_per_day=Decimal("0.10"))], wall=wall)
    key = ring.identify(_bearer(SECRET))
    ring.spend("team-a", Decimal("0.099"))
    key.admit()
    ring.spend("team-a", Decimal("0.001"))
    with pytest.raises(OverQuota) as caught:
        key.admit()
    assert caught.value.retry_after_s == pytest.approx(400.0)
    wall.now += 401.0
    key.admit()


def test_a_clock_set_back_gives_no_budget_again():
    """T29: what was spent today stays spent when the wall clock jumps to yesterday."""
    wall = ManualClock(now=86_400.0 * 20_000 + 60.0)
    ring = KeyRing([_spec(max_usd_per_day=Decimal(1))], wall=wall)
    ring.spend("team-a", Decimal(1))
    wall.now -= 3_600.0
    with pytest.raises(OverQuota):
        ring.identify(_bearer(SECRET)).admit()


def test_file_comes_back_as_written_and_is_private(tmp_path):
    """Limits survive, the mode is 0600, and the secret is nowhere in the file."""
    path = tmp_path / "keys.yaml"
    secret = new_secret()
    specs = (_spec("a", secret, requests_per_second=2.5, max_usd_per_day=Decimal("1.25")),)
    save_keys(path, specs)
    assert load_keys(path) == specs
    assert path.stat().st_mode & 0o777 == 0o600
    assert secret not in path.read_text()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        ("keys: [", "cannot be read"),
        ("[]", "the file"),
        ("keys: [{name: a, sha256: abc}]", "sha256"),
        (f"keys: [{{name: 'a b', sha256: '{HASH}'}}]", "name"),
        (f"keys: [{{name: a, sha256: '{HASH}', rps: 3}}]", "rps"),
        (f"keys: [{{name: a, sha256: '{HASH}'}}, {{name: b, sha256: '{HASH}'}}]", "same sha256"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path, content, words):
    """What is wrong with a file of keys is said without repeating its hashes."""
    path = tmp_path / "keys.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadSettings, match=words) as caught:
        load_keys(path)
    assert HASH not in str(caught.value)


def test_secrets_are_long_and_all_different():
    """256 bits of randomness each."""
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert min(map(len, secrets)) >= 43


def _refusal_of(headers):
    with pytest.raises(Unauthorized) as caught:
        KeyRing([_spec()]).identify(headers)
    return caught.value


def test_two_who_add_keys_at_once_are_both_in_the_file(tmp_path):
    """Whoever reads, adds and writes holds the file meanwhile."""
    path = tmp_path / "keys.yaml"

    def add(i):
        with changing(path):
            known = load_keys(path) if path.exists() else ()
            save_keys(path, (*known, _spec(f"key-{i}", f"secret-{i}")))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(24)))
    assert len(load_keys(path)) == 24
