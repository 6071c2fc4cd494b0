"""Texts of another subject have n-grams that nobody learnt of; texts of the task have few."""

import random
import subprocess
import sys

import numpy as np
import pytest

from router.promise.hints import LOOKED_AT, MOVED, stability_index
from students.errors import BadBundle
from students.runtime.seen import CHARACTERS, SEEN_FILE, SeenNgrams
from students.runtime.usual import UsualSignal

BANK = ("my card was declined", "why is the transfer pending", "how do I top up", "at a shop")
FLOOD = ("river water rising", "villagers need tents", "send rescue boats", "the bridge is gone")


def sentences(parts, n, seed):
    """Three of the parts in any order."""
    rng = random.Random(seed)
    return [" ".join(rng.choices(parts, k=3)) for _ in range(n)]


@pytest.mark.parametrize(("share", "moved"), [(0.0, False), (0.3, True)])
def test_a_share_of_other_texts_moves_the_signal(share, moved):
    """None of them: as usual. Three in ten: a hint, within one comparison.

    Usually nothing at all is unknown here, and a signal that never varied must be able to move.
    """
    seen = SeenNgrams.of(sentences(BANK, 500, seed=0))
    usual = UsualSignal.of(np.array([seen.unknown_share(t) for t in sentences(BANK, 500, seed=1)]))
    others = int(share * LOOKED_AT)
    looked_at = sentences(FLOOD, others, 2) + sentences(BANK, LOOKED_AT - others, 3)
    counts = [0] * len(usual.shares)
    for text in looked_at:
        counts[usual.place(seen.unknown_share(text))] += 1
    assert (stability_index(counts, usual.shares) > MOVED) is moved


def test_it_is_written_and_read(tmp_path):
    """Bit for bit; a bundle of an earlier version has none, a damaged one is one sentence."""
    assert SeenNgrams.load(tmp_path) is None
    seen = SeenNgrams.of(["Top up my card"])
    seen.save(tmp_path)
    assert np.array_equal(SeenNgrams.load(tmp_path).seen, seen.seen)
    assert (tmp_path / SEEN_FILE).stat().st_size < 40_000
    (tmp_path / SEEN_FILE).write_bytes(b"no array")
    with pytest.raises(BadBundle, match="distil again"):
        SeenNgrams.load(tmp_path)


def test_every_text_has_a_share():
    """Case and white space do not count; of no text all is unknown; a long one is cut."""
    seen = SeenNgrams.of(["Top up my card"])
    assert seen.unknown_share("  top UP  my\\ncard ".replace("\\n", "\n")) == 0.0
    assert seen.unknown_share("") == seen.unknown_share(" \t") == 1.0
    assert seen.unknown_share("\ud800 lone surrogate") > 0.9
    assert seen.unknown_share("top up my card" + " " * CHARACTERS + "z" * 99) == 0.0


def test_no_compiled_code_is_needed():
    """A machine that only serves encoders has no numba."""
    code = "import sys; import students.runtime.seen; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
