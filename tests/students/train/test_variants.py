"""A linear student that learns what a head on an encoder says of texts without a word."""

from dataclasses import replace

import numpy as np
import pytest

from students.distill.run import distill, take_parts
from students.errors import BadTask
from students.label.labelled import LabelledSet
from students.labels import LabelSchema
from students.runtime.load import load_student
from students.teachers.protocol import TeacherDescriptor
from students.train.linear import LinearRecipe, train_linear
from students.train.variants import train_on_variants, without_words

pytestmark = pytest.mark.torch

TEACHER = TeacherDescriptor("classify", "scripted", "1", "", "{}")
SCHEMA = LabelSchema(("card", "transfer"))


def labelled(texts, sure=0.95):
    """Texts that are about the word that they hold; about both alike where they hold neither."""
    one, other = [sure, 1 - sure], [1 - sure, sure]
    p = [one if "card" in t else other if "transfer" in t else [0.5, 0.5] for t in texts]
    n = len(texts)
    return LabelledSet(
        SCHEMA,
        tuple(texts),
        np.array(p, np.float32),
        np.zeros(n, np.float32),
        np.zeros(n, bool),
        np.full(n, -1, np.int32),
    )


def sentences(n, seed):
    """So many sentences, each about one of the labels."""
    rng = np.random.default_rng(seed)
    filler = [f"word{i}" for i in range(60)]
    return [
        " ".join([*rng.choice(filler, 6), ("card", "transfer")[i % 2], *rng.choice(filler, 2)])
        for i in range(n)
    ]


def test_variants_are_the_text_without_some_words():
    """Each keeps the order of what it keeps; none comes twice, none is a text itself."""
    text = "where is my new card please"
    made = without_words([text, text], 20)
    assert len(made) > 5
    assert len(set(made)) == len(made)
    assert text not in made
    for variant in made:
        rest = iter(text.split())
        assert all(word in rest for word in variant.split())


def test_variants_depend_on_the_text_alone():
    """Another pile, order or training finds the vectors of the same variants."""
    one, other = "how do I top up", "it was declined again today"
    apart = without_words([other], 5) + without_words([one], 5)
    assert set(without_words([one, other], 5)) == set(apart)


@pytest.mark.parametrize("text", ["card", "", " \t ", "銀行口座の残高", "\udc80"])
def test_a_text_of_one_word_has_no_variant(text):
    """There is nothing to leave out, and nothing is made of it."""
    assert without_words([text], 10) == ()


def test_a_text_that_another_is_made_into_keeps_its_label():
    """What the teacher answered is not answered again by somebody who knows less."""
    longer = "my card"
    assert "card" not in without_words([longer, "card", "my"], 50)


def test_the_better_student_stays():
    """Variants that are answered well are learnt; wrong answers to them change nothing."""
    train, validation = labelled(sentences(40, 0)), labelled(sentences(60, 1))
    plain = train_linear(train, validation, LinearRecipe())
    made = labelled(without_words(train.texts, 8))
    taught = train_on_variants(train, validation, made, plain)
    assert taught.trials[0].variants == len(made)
    assert taught.trials[0].kl < plain.trials[0].kl
    assert taught.trials[1:] == plain.trials
    wrong = replace(made, probabilities=made.probabilities[:, ::-1].copy())
    kept = train_on_variants(train, validation, wrong, plain)
    assert kept.weights is plain.weights
    assert kept.trials[:-1] == plain.trials
    assert kept.trials[-1].variants == len(made)


def test_a_linear_student_is_distilled_on_variants_and_served_without_an_encoder(
    make_task, make_labels, split_rows, tiny_encoder, tmp_path
):
    """The encoder answers while it learns; what is served is a table, and its trials say so."""
    student = {"family": "linear", "encoder_path": tiny_encoder, "variants": 3}
    task = make_task(tmp_path, student=student, agreement=0.9)
    done = distill(task, take_parts(task, make_labels(), split_rows), teacher=TEACHER)
    manifest = done.bundle.manifest
    assert manifest.family == "linear"
    assert sorted(manifest.files) == ["weights.safetensors"]
    assert any(trial.variants for trial in manifest.trials)
    assert load_student(done.bundle).predict(["help now"])


def test_variants_need_an_encoder(make_task, make_labels, split_rows, tmp_path):
    """Somebody has to answer them, and it is not the teacher."""
    task = make_task(tmp_path, student={"family": "linear", "variants": 3})
    with pytest.raises(BadTask, match="encoder_path"):
        distill(task, take_parts(task, make_labels(), split_rows), teacher=TEACHER)
