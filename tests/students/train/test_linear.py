"""The linear student learns the distillation loss, step by step as torch would."""

import gc
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch

from students.bench.students import made_up
from students.certify.calibration import calibrated_kl
from students.runtime.linear import LinearWeights
from students.train import vocabulary
from students.train.linear import LinearRecipe, train_linear
from students.train.table import MOST_TIMES, Bags, FeatureTable, Lesson, packed, text_slope
from students.train.training import distillation_loss
from students.train.vocabulary import READINGS, WORD_WEIGHT, FeatureReading, Vocabulary

CLASSES, ROWS, TEXTS = 5, 40, 50
SETTINGS = [(1.0, 0.0), (4.0, 0.0), (2.0, 0.5), (1.0, 1.0)]


def _bags():
    """Up to 11 features a text, some of them several times, some texts without any."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 12, TEXTS)
    rows = np.concatenate([rng.choice(ROWS - 1, n, replace=False) for n in lengths])
    return Bags(
        packed(rows.astype(np.int32), rng.integers(1, 4, rows.size).astype(np.int32)),
        rng.random(TEXTS).astype(np.float32),
        np.concatenate([[0], np.cumsum(lengths)]),
        rng.random(ROWS - 1).astype(np.float32),
        np.arange(5, dtype=np.float32),
    )


def _listed(bags, texts):
    """Rows, shares and offsets of texts for torch, the bias in each."""
    listed = [bags.listed(text) for text in texts]
    rows = [np.append(rows, ROWS - 1) for rows, _ in listed]
    shares = [np.append(shares, np.float32(1)) for _, shares in listed]
    return (
        torch.from_numpy(np.concatenate(rows)).long(),
        torch.from_numpy(np.concatenate(shares)),
        torch.tensor(np.cumsum([0, *map(len, rows)])),
    )


def _teacher():
    """Soft labels, a part of whose mass is on no label."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(CLASSES, 0.3), TEXTS) * rng.uniform(0.2, 1.0, (TEXTS, 1))
    return p.astype(np.float32)


@pytest.mark.parametrize(("temperature", "hard_weight"), SETTINGS)
def test_gradient_is_that_of_autograd(temperature, hard_weight):
    """The closed form is the gradient of the distillation loss, label mass below 1 included."""
    teacher = _teacher()
    logits = torch.randn(TEXTS, CLASSES, generator=torch.manual_seed(0)) * 3
    logits.requires_grad_()
    distillation_loss(logits, torch.from_numpy(teacher), temperature, hard_weight).backward()
    lesson = Lesson.of(teacher, temperature, hard_weight)
    found = np.empty((TEXTS, CLASSES), np.float32)
    for text, values in enumerate(logits.detach().numpy().copy()):
        text_slope(values, lesson, text, found[text])
    found *= (lesson.mass / lesson.mass.sum())[:, None]
    assert logits.grad is not None
    np.testing.assert_allclose(found, logits.grad.numpy(), atol=1e-7)


@pytest.mark.parametrize(("temperature", "hard_weight"), SETTINGS)
def test_epochs_are_those_of_torch(temperature, hard_weight):
    """After some epochs the table is what torch's EmbeddingBag and Adagrad make of it."""
    bags, teacher = _bags(), _teacher()
    table, lesson = (
        FeatureTable(ROWS, CLASSES, rate=0.2),
        Lesson.of(teacher, temperature, hard_weight),
    )
    twin = torch.nn.EmbeddingBag(ROWS, CLASSES, mode="sum", include_last_offset=True)
    torch.nn.init.zeros_(twin.weight)
    optimizer = torch.optim.Adagrad(twin.parameters(), lr=0.2)
    rng = np.random.default_rng(1)
    for _ in range(4):
        order = rng.permutation(TEXTS)
        table.learn(bags, lesson, order, batch_size=8)
        for start in range(0, TEXTS, 8):
            batch = order[start : start + 8]
            rows, shares, offsets = _listed(bags, batch)
            logits = twin(rows, offsets, shares)
            optimizer.zero_grad()
            distillation_loss(
                logits, torch.from_numpy(teacher[batch]), temperature, hard_weight
            ).backward()
            optimizer.step()
    assert np.abs(table.weight).max() > 0.5
    np.testing.assert_allclose(table.weight, twin.weight.detach().numpy(), atol=1e-4)


@pytest.mark.parametrize(("temperature", "hard_weight"), SETTINGS)
def test_an_l2_step_is_that_of_autograd(temperature, hard_weight):
    """One batch moves each row it meets by the gradient of the loss + ridge / 2 |w|^2."""
    bags, teacher = _bags(), _teacher()
    rng = np.random.default_rng(2)
    ridge = np.append(rng.random(ROWS - 1), 0.0).astype(np.float32)
    before = rng.normal(size=(ROWS, CLASSES)).astype(np.float32)
    batch = np.arange(8)
    table = FeatureTable(ROWS, CLASSES, rate=0.2, ridge=ridge)
    table.weight = before.copy()
    table.learn(bags, Lesson.of(teacher, temperature, hard_weight), batch, batch_size=8)

    weight = torch.tensor(before, requires_grad=True)
    features, shares, offsets = _listed(bags, batch)
    logits = torch.nn.functional.embedding_bag(
        features, weight, offsets, mode="sum", per_sample_weights=shares, include_last_offset=True
    )
    loss = distillation_loss(logits, torch.from_numpy(teacher[:8]), temperature, hard_weight)
    met = features.unique()
    penalty = torch.from_numpy(ridge)[met] @ weight[met].square().sum(1) / 2
    (gradient,) = torch.autograd.grad(loss + penalty, weight)
    assert len(met) < ROWS  # the rows that the batch does not meet stay
    # Adagrad's first step is the sign of the gradient; its squares are the gradient itself.
    np.testing.assert_allclose(table._squares, gradient.square().numpy(), atol=1e-5)
    np.testing.assert_allclose(table.weight, before - 0.2 * gradient.sign().numpy(), atol=1e-5)


def test_l2_holds_rare_features_back():
    """With L2 a feature of few texts gets a smaller weight; that of a frequent one hardly moves."""
    often, rare = np.arange(200) % 2, np.isin(np.arange(200), (20, 40))
    rows = np.stack([often, np.where(rare, 2, 3)], axis=1).ravel().astype(np.int32)
    one = np.ones(400, np.int32)
    bags = Bags(
        packed(rows, one),
        np.ones(200, np.float32),
        np.arange(0, 401, 2),
        np.ones(4, np.float32),
        np.arange(2, dtype=np.float32),
    )
    answer = np.where(rare, 1, often)
    teacher = (0.02 + 0.96 * np.eye(2)[answer]).astype(np.float32)
    seen = np.array([0.5, 0.5, 0.01, 0.99], np.float32)
    vocabulary = Vocabulary(FeatureReading(), np.empty(0, np.int32), np.ones(4, np.float32), seen)

    def weight(l2):
        ridge = vocabulary.ridge(200, l2, 64)
        table = FeatureTable(5, 2, rate=0.2, ridge=ridge)
        lesson, rng = Lesson.of(teacher, 1.0, 0.0), np.random.default_rng(0)
        for _ in range(100):
            table.learn(bags, lesson, rng.permutation(200), batch_size=64)
        return table.weight[:, 1] - table.weight[:, 0]

    free, held = weight(0.0), weight(1.0)
    assert free[2] > 4
    assert held[2] < 0.6 * free[2]
    assert held[1] > 0.7 * free[1]


def test_l2_is_in_full_on_average():
    """Over many batches a row meets its ridge so often that a step has l2 / n; not the bias."""
    texts = ["card stolen"] * 50 + ["where is my money"] * 950
    vocabulary = Vocabulary.of(texts, FeatureReading())
    ridge = vocabulary.ridge(len(texts), 0.1, 16)
    assert ridge[-1] == 0
    row = int(np.flatnonzero(np.isclose(vocabulary.seen, 0.05))[0])
    rng = np.random.default_rng(0)
    met = np.mean([rng.choice(1000, 16, replace=False).min() < 50 for _ in range(5000)])
    assert ridge[row] * met == pytest.approx(0.1 / 1000, rel=0.05)


@pytest.mark.parametrize("classes", [2, 77, 200])
@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_a_one_hot_teacher_is_one_hot_at_any_temperature(classes, temperature):
    """What the teacher rules out is not smoothed in by a temperature, in either loss."""
    teacher = np.eye(classes, dtype=np.float32)[:3]
    lesson = Lesson.of(teacher, temperature, 0.0)
    for text in range(len(teacher)):
        text_slope(
            np.zeros(classes, np.float32), lesson, text, slope := np.empty(classes, np.float32)
        )
        np.testing.assert_allclose(slope, temperature * (1 / classes - teacher[text]), rtol=1e-5)
    logits = 50.0 * temperature * torch.from_numpy(teacher)
    assert distillation_loss(logits, torch.from_numpy(teacher), temperature).item() < 1e-6


def test_training_ends_because_it_has_learnt_and_not_at_a_number_of_epochs():
    """Without a limit every setting ends, and none has more than a trace left to gain."""
    train, validation = made_up(600, seed=1, classes=6), made_up(200, seed=2, classes=6)
    settings = ((1.0, 4.0), (0.0,), (0.0, 0.1))
    recipe = LinearRecipe()
    assert recipe.epochs is None
    free = train_linear(train, validation, recipe, *settings).trials
    capped = train_linear(train, validation, replace(recipe, epochs=3), *settings).trials
    assert max(trial.epochs for trial in capped) == 3
    assert max(trial.epochs for trial in free) > 3
    longer = replace(recipe, patience=12, least_gain=0.0)
    further = train_linear(train, validation, longer, *settings).trials
    assert free[0].kl < 1.02 * further[0].kl


def test_texts_that_the_teacher_put_on_no_label_teach_nothing():
    """A batch without any label mass leaves the table as it is, and finite."""
    table = FeatureTable(ROWS, CLASSES, rate=0.2)
    lesson = Lesson.of(np.zeros((TEXTS, CLASSES), np.float32), 2.0, 0.5)
    table.learn(_bags(), lesson, np.arange(TEXTS), batch_size=8)
    assert not table.weight.any()


@pytest.mark.parametrize("terms", ["counts", "sublinear"])
def test_a_text_is_its_known_features_and_the_bias(terms):
    """Shares have length 1; a text without any known feature has none."""
    vocabulary = Vocabulary.of(["where is my card", "where is my money"], FeatureReading(terms))
    bags = vocabulary.bags(["where is my card", "", "?!", "ж"])
    rows, shares = bags.listed(0)
    assert rows.size > 10
    assert shares @ shares == pytest.approx(1, abs=1e-6)
    assert rows.max() < vocabulary.weight.size
    assert np.diff(bags.offsets).tolist() == [rows.size, 0, 0, 0]


def test_a_feature_may_occur_more_often_than_is_counted():
    """A text of one letter, for ever: its count is cut, its row is not touched by it."""
    vocabulary = Vocabulary.of(["aaa", "aaa"], FeatureReading())
    rows, shares = vocabulary.bags(["a" * (3 * MOST_TIMES)]).listed(0)
    assert rows.max() < vocabulary.weight.size
    assert len(set(rows.tolist())) == rows.size
    assert np.isfinite(shares).all()


def test_texts_without_features_are_answered_by_the_bias():
    """Training texts may hold no word at all: the student then knows the teacher's shares."""
    data = made_up(60, classes=3)
    data = replace(data, texts=("?!",) * 60)
    weights = train_linear(data, data, LinearRecipe()).weights
    p = torch.softmax(torch.from_numpy(weights.logits(["", "anything"])), 1).numpy()
    np.testing.assert_allclose(p, data.probabilities.mean(0)[None].repeat(2, 0), atol=0.02)


@pytest.mark.parametrize("reading", READINGS)
def test_serving_gives_the_logits_of_training(reading):
    """The weights as they are served are the table at the best epoch: same KL on validation."""
    train, validation = made_up(300, seed=1, classes=4), made_up(100, seed=2, classes=4)
    texts = tuple(f"{text} {text} and {text[:7]}" for text in validation.texts)
    validation = replace(validation, texts=texts)
    trained = train_linear(
        train, validation, LinearRecipe(), (1.0, 2.0), (0.0, 0.5), readings=(reading,)
    )
    trials = trained.trials
    assert trials[0].kl == min(trial.kl for trial in trials)
    held_out = calibrated_kl(trained.held_out, validation.probabilities)
    assert held_out == pytest.approx(trials[0].kl, abs=1e-6)
    back = LinearWeights.from_tensors(trained.weights.tensors(), trained.weights.config())
    np.testing.assert_array_equal(back.logits(texts), trained.weights.logits(texts))


def test_the_best_setting_learns_the_held_out_rows_in_the_end():
    """What is served knows both; what tells of unseen rows is kept from before it did."""
    train, validation = made_up(300, seed=1, classes=4), made_up(100, seed=2, classes=4)
    words = tuple(f"only{n}" for n in range(len(validation)))
    validation = replace(validation, texts=words)
    trained = train_linear(train, validation, LinearRecipe(), (2.0,), readings=READINGS[2:])
    known = trained.weights.logits(words)
    teacher = validation.probabilities
    assert calibrated_kl(known, teacher) < 0.5 * calibrated_kl(trained.held_out, teacher)


def test_a_repeated_feature_counts_sublinearly():
    """A word said n times weighs 1 + ln n times a word said once, and words weigh more."""
    texts = ["ab cd"] * 3 + ["xy"]
    vocabulary = Vocabulary.of(texts, FeatureReading("sublinear"))
    once, often = (vocabulary.bags([text]) for text in ("ab cd", "ab, ab, ab. ab! cd"))
    shares = [dict(zip(*map(np.ndarray.tolist, b.listed(0)), strict=True)) for b in (once, often)]
    assert set(shares[0]) <= set(shares[1])
    ratios = {round(shares[1][f] / shares[0][f], 4) for f in shares[0]}
    assert max(ratios) / min(ratios) == pytest.approx(1 + np.log(4), rel=1e-3)
    found = once.listed(0)[1]
    assert len(set(np.round(found, 5))) == 2  # n-grams; words and their pair
    assert found.max() / found.min() == pytest.approx(WORD_WEIGHT, rel=1e-5)


def test_settings_are_chosen_one_after_the_other():
    """T first, then how texts are read, L2 and lambda, each with the best of those before."""
    data = made_up(60, classes=2)
    trials = train_linear(
        data, data, LinearRecipe(epochs=1), (1.0, 2.0), (0.0, 0.1), (0.0, 0.1), READINGS[:2]
    ).trials
    said = [(t.temperature, t.terms, t.l2, t.hard_weight) for t in trials]
    assert len(said) == len(set(said)) == 5
    first = {t for t in said if t[1:] == ("counts", 0.0, 0.0)}
    assert {t[0] for t in first} == {1.0, 2.0}
    assert len({t[0] for t in said if t not in first}) == 1
    assert sum(t[1] == "sublinear" for t in said) in (1, 3)


def test_l2_is_chosen_by_validation_kl():
    """The strength of least validation KL is taken, and its weights are those of it alone."""
    train, validation = made_up(300, seed=1, classes=2), made_up(300, seed=2, classes=2)
    trained = train_linear(
        train, validation, LinearRecipe(), (1.0,), (0.0,), (0.0, 0.1, 1e4), READINGS[:1]
    )
    trials = trained.trials
    by_l2 = {trial.l2: trial.kl for trial in trials}
    assert set(by_l2) == {0.0, 0.1, 1e4}
    assert trials[0].l2 == min(by_l2, key=by_l2.__getitem__)
    assert trials[-1].l2 == 1e4  # so strong a penalty leaves the bias alone
    alone = train_linear(
        train, validation, LinearRecipe(), l2=(trials[0].l2,), readings=READINGS[:1]
    )
    np.testing.assert_array_equal(trained.weights.rows, alone.weights.rows)


def test_equal_seeds_give_equal_weights():
    """Training twice gives the same bits, whatever ran beside it; another seed does not."""
    train, validation = made_up(200, seed=1, classes=4), made_up(80, seed=2, classes=4)

    def rows(seed, *temperatures):
        recipe = LinearRecipe(epochs=3, seed=seed)
        return train_linear(train, validation, recipe, temperatures).weights.rows

    np.testing.assert_array_equal(rows(0, 2.0), rows(0, 2.0))
    np.testing.assert_array_equal(rows(0, 1.0, 2.0), rows(0, 1.0, 2.0))
    assert not np.array_equal(rows(0, 2.0), rows(1, 2.0))


@pytest.mark.parametrize("reading", READINGS)
def test_texts_are_read_a_part_at_a_time(reading, monkeypatch):
    """Parts give the vocabulary and the vectors that all texts at once give."""
    texts = [*made_up(300, seed=3, classes=4).texts, "", "the same", "the same"]
    whole = Vocabulary.of(texts, reading)
    monkeypatch.setattr(vocabulary, "TEXTS_AT_ONCE", 37)
    parts = Vocabulary.of(texts, reading)
    for one, other in zip(
        (whole.slots, whole.weight, whole.seen, *whole.bags(texts)),
        (parts.slots, parts.weight, parts.seen, *parts.bags(texts)),
        strict=True,
    ):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_vectors_of_one_reading_only_are_held(monkeypatch):
    """A million texts are a gigabyte in each reading."""
    held = []

    def bags(self, texts):
        gc.collect()
        held.append(sum(type(o) is Vocabulary for o in gc.get_objects()))
        return read(self, texts)

    read = Vocabulary.bags
    monkeypatch.setattr(Vocabulary, "bags", bags)
    train, validation = made_up(200, seed=1, classes=3), made_up(50, seed=2, classes=3)
    recipe = LinearRecipe(epochs=1)
    trials = train_linear(train, validation, recipe, (1.0,), (0.0, 0.1)).trials
    assert len(trials) == len(READINGS) + 1
    assert max(held) == 1


def test_texts_are_laid_end_to_end_part_by_part(monkeypatch):
    """Read in parts of three they are what they are read at once."""
    texts = [f"text {i} of {i * i} words" for i in range(10)]
    read = Vocabulary.of(texts, READINGS[1])
    whole = read.bags(texts)
    monkeypatch.setattr(vocabulary, "TEXTS_AT_ONCE", 3)
    parts = Vocabulary.of(texts, READINGS[1]).bags(texts)
    for one, other in zip(parts, whole, strict=True):
        np.testing.assert_array_equal(one, other)


def test_parts_are_not_held_beside_the_whole():
    """A million texts have a gigabyte of features: they were held twice while they were joined."""
    size, n = 1 << 20, 16
    one = np.ones(1, np.float32)

    def parts():
        for _ in range(n):
            yield Bags(np.ones(size, np.uint32), one, np.array([0, size]), one, one)

    tracemalloc.start()
    try:
        whole = Bags.joined(parts())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert whole.offsets.tolist() == [size * i for i in range(n + 1)]
    assert peak < 1.25 * whole.features.nbytes
