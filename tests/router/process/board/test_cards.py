"""What the page shows of the bundles on disk."""

from router.process.board.cards import cards_of
from students.certificate import ClassPromise
from students.runtime.bundle import draft, hash_files, publish
from students.testing import publish_unproved


def test_a_class_of_which_nothing_is_proved_is_no_promise(task, tmp_path):
    """A strict class that failed stood there as promised as those that hold."""
    task = task.model_copy(update={"work_dir": tmp_path})
    classes = tuple(
        ClassPromise(label=label, agreement=0.98, n=n, disagreements=0, agreement_lower_bound=0.98)
        for label, n in (("calm", 200), ("urgent", 0))
    )
    bundle = publish_unproved(task, "linear", {}, _saved, (0.5, 0.5))
    certificate = bundle.manifest.certificate.model_copy(update={"per_class": classes})
    with draft(tmp_path / "bundles") as path:
        _saved(path)
        assert hash_files(path) == bundle.manifest.files
        after = publish(path, bundle.manifest.model_copy(update={"certificate": certificate}))
    cards = {card.bundle: card for card in cards_of(task)}
    assert cards[after.id].classes == ({"label": "calm", "agreement": 0.98},)
    assert "Nothing is proved of the answer 'urgent'" in cards[after.id].statement
    assert cards[bundle.id].classes == ()


def _saved(path):
    (path / "weights.safetensors").write_bytes(b"")
