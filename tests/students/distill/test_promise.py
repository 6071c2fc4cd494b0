"""What a draft promises rests on the rows it must rest on, and the certificate says which."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from students.distill.answers import PartsAnswered
from students.distill.promise import certify_draft
from students.labels import LabelSchema
from students.runtime.bundle import LabellingBill, Manifest
from students.teachers.protocol import TeacherDescriptor
from students.testing import ScriptedStudent


@pytest.fixture
def certify(make_task, make_labels, split_rows, tmp_path):
    """Certify a scripted student: for the i-th row of a split how sure it is, and if it agrees."""
    data = make_labels()

    def certify(says, labels=data, *, sampling="rows", weights="a", **promise):
        part = {name: labels.take(rows) for name, rows in split_rows.items()}
        said = {}
        for name, rows in part.items():
            for i, (text, label) in enumerate(zip(rows.texts, rows.teacher.tolist(), strict=True)):
                sure, agrees = says(name, i)
                p = [1 - sure, 1 - sure]
                p[label if agrees else 1 - label] = sure
                said[text] = tuple(p)
        manifest = Manifest(
            task="demo",
            labels=labels.schema.names,
            family="linear",
            config={"weights": weights},
            temperature=1.0,
            confidence="max_probability",
            files={},
            teacher=TeacherDescriptor("classify", "scripted", "1", "", "{}"),
            labelling=LabellingBill(n=len(labels), usd=1, price="$1", sampling=sampling),
            created="2026-01-01",
        )
        answers = PartsAnswered(ScriptedStudent(labels.schema, said.__getitem__), part)
        task = make_task(tmp_path, **promise)
        return certify_draft(task, manifest, answers, lambda: datetime(2026, 1, 1, tzinfo=UTC))

    certify.data = data
    return certify


def _right(split, i):
    return 0.9, True


@pytest.mark.parametrize(
    ("sampling", "words"),
    [
        ("rows", "of 400 calibration rows: of all"),
        ("latest", "of 400 calibration rows, at random among the latest (it is about traffic like"),
        ("groups", "of 400 groups, one calibration row of each (a group counts once, however"),
    ],
)
def test_the_statement_says_what_the_calibration_rows_are_drawn_from(certify, sampling, words):
    """Times and groups make another population of it, and the promise is about no other."""
    certificate, _ = certify(_right, sampling=sampling, agreement=0.95)
    assert certificate.sampling == sampling
    assert words in certificate.statement


def test_the_grid_of_the_strict_promise_is_of_the_temperature_rows(certify):
    """A grid of the calibration rows' own scores would be fixed by what it is tested on."""

    def says(split, i):
        if split == "calibration":
            return (0.97, True) if i % 2 else (0.55, False)
        return 0.6 + i / 500, True

    certificate, _ = certify(says, agreement=0.9, promise="strict")
    temperature = np.float32([0.6 + i / 500 for i in range(100)])
    assert certificate.coverage == 0.5
    assert np.isin(np.float32(certificate.thresholds), temperature).all()


def test_the_threshold_is_placed_on_the_calibration_rows(certify):
    """Test rows that all agree lower no threshold, those that disagree raise none."""

    def says(split, i):
        return 0.5 + (i + 1) / 1000, split == "test" or i >= 100

    certificate, _ = certify(says, agreement=0.95)
    assert certificate.n_calibration == 400
    assert 0.75 <= certificate.coverage < 0.8
    calm, _ = certify(lambda split, i: (0.9, split != "test"), weights="b", agreement=0.95)
    assert calm.coverage == 1.0


def test_a_refusal_is_a_look(certify):
    """Whoever tries until it certifies has tried as often as that."""
    refused, why = certify(_right, agreement=0.999)
    assert refused is None
    assert why.n_calibration == 400
    certificate, _ = certify(_right, agreement=0.9)
    assert certificate.use == 2


def test_descriptions_and_gold_reset_no_looks(certify):
    """They change the fingerprint of the labels, and no row: text and teacher's answer are it."""
    first, _ = certify(_right, agreement=0.9)
    data = certify.data
    names = data.schema.names
    edited = replace(
        data, schema=LabelSchema(names, ("hurry", "")), gold=np.full_like(data.gold, -1)
    )
    second, _ = certify(_right, edited, weights="b", agreement=0.9)
    assert first.calibration_sha256 != second.calibration_sha256
    assert (first.use, second.use) == (1, 2)
