"""`raisehand bench students` measures what it says."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from students.bench.students import _like_sentence_transformers, made_up, students

pytestmark = pytest.mark.torch


def test_made_up_labels_are_soft_and_explained_by_words():
    """Distributions over 77 labels, many of them in use, the same for the same seed."""
    data = made_up(300)
    assert data.probabilities.shape == (300, 77)
    assert np.allclose(data.probabilities.sum(axis=1), 1, atol=1e-5)
    assert len(set(data.teacher.tolist())) > 40
    assert made_up(300).sha256 == data.sha256 != made_up(300, seed=1).sha256


def test_the_reference_is_what_sentence_transformers_computes(tiny_encoder):
    """The stand-in gives the embeddings of the library itself."""
    library = pytest.importorskip("sentence_transformers", reason="extra bench not installed")
    texts = ["please send water", "nice photo music help us now", "all is well"]
    ours = _like_sentence_transformers(tiny_encoder)(texts)
    model = library.SentenceTransformer(str(tiny_encoder), device="cpu")
    theirs = model.encode(texts, normalize_embeddings=True)
    assert np.allclose(ours, theirs, atol=1e-5)


def test_every_figure_is_there(tiny_encoder):
    """One run on tiny sizes: ratio, spreads, seconds and versions."""
    pytest.importorskip("nncf", reason="the extra int8 is not installed")
    result = CliRunner().invoke(
        students,
        [
            "--model",
            str(tiny_encoder),
            "--texts",
            "64",
            "--rounds",
            "2",
            "--rows",
            "1000",
            "--json",
        ],
    )
    assert result.exit_code == 0, result.output
    out = json.loads(result.stdout[result.stdout.index("{") :])
    low, high = out["int8_ratio_spread"]
    assert low <= out["int8_ratio"] <= high
    assert min(out[name] for name in ("linear_distill_s", "frozen_distill_s", "frozen_again_s")) > 0
    assert out["linear_texts_per_s_one_core"] > 100
    assert "openvino" in out["versions"]
