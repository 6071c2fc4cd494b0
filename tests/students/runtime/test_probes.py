"""A student that answers otherwise than where it was certified is not served."""

import numpy as np
import pytest

from students.errors import BadBundle
from students.labels import LabelSchema, Prediction
from students.runtime.probes import MOST_DRIFT, check_drift, drift, probe

SCHEMA = LabelSchema(("urgent", "calm"), ("somebody asks for help", ""))


class Student:
    """Its probability of the first label hangs on the text's length, moved by `by`."""

    schema = SCHEMA

    def __init__(self, by=0.0):
        self._by = by

    def predict(self, texts):
        """Answer each text."""
        answers = []
        for text in texts:
            p = 0.5 + 0.4 * np.sin(len(text)) + self._by
            probabilities = np.array([p, 1 - p], np.float32)
            answers.append(Prediction(int(p < 0.5), float(probabilities.max()), probabilities))
        return answers


class Sure:
    """It has one probability for every text."""

    schema = SCHEMA

    def __init__(self, p):
        self._p = p

    def predict(self, texts):
        """Answer each text."""
        probabilities = np.array([self._p, 1 - self._p], np.float32)
        return [Prediction(0, self._p, probabilities) for _ in texts]


def test_the_same_student_passes():
    """No drift where nothing changed, and none without probes (a bundle of an older version)."""
    assert not drift(Student(), probe(Student())).too_much
    assert drift(Student(), probe(Student())).probability == 0.0
    check_drift(Student(), probe(Student()), "bundle")
    check_drift(Student(0.5), (), "bundle")


@pytest.mark.parametrize("by", [0.03, -0.5, float("nan")])
def test_other_scores_are_refused(by):
    """A changed probability is one sentence that says by how much and what to do."""
    with pytest.raises(BadBundle, match=r"bundle gives other scores here .*`raisehand distill`"):
        check_drift(Student(by), probe(Student()), "bundle")


@pytest.mark.parametrize(("before", "now"), [(0.999, 0.985), (0.985, 0.999), (0.99, 0.98)])
def test_odds_count_where_thresholds_lie_near_one(before, now):
    """A shift that hardly moves a probability there moves what is kept, and is refused."""
    with pytest.raises(BadBundle, match=r"odds by a factor of \d+\.\d+ \(1.65 is allowed\)"):
        check_drift(Sure(now), probe(Sure(before)), "bundle")


@pytest.mark.parametrize(("before", "now"), [(0.999, 0.9988), (1.0, 1 - 1e-7), (1.0, 0.99995)])
def test_what_rounding_does_to_sure_answers_is_let_pass(before, now):
    """A saturated float32 has no odds to compare."""
    check_drift(Sure(now), probe(Sure(before)), "bundle")


def test_rounding_is_let_pass():
    """What another order of sums or bfloat16 changes is below the limit."""
    check_drift(Student(MOST_DRIFT / 2), probe(Student()), "bundle")


def test_probes_are_the_words_of_the_labels_and_no_users_texts():
    """A label's description, its name where there is none, and sentences that are ours."""
    texts = [one.text for one in probe(Student())]
    assert texts[:3] == ["somebody asks for help", "calm", ""]
    assert len(texts) == len(set(texts)) > 10
