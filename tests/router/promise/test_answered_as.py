"""A teacher that begins to answer as another model is noticed at once."""

from router.promise.answered_as import MOST_NAMES, AnsweredAs


def _told(*names):
    told = []
    see = AnsweredAs(lambda model, before: told.append((model, before)))
    for name in names:
        see(name)
    return told


def test_a_new_name_is_told_once_and_the_first_never():
    """Servers behind one address that take turns are two names, not an event an answer."""
    assert _told("a", "a", "a") == []
    assert _told("a", "b", "b", "a", "b", "c") == [("b", "a"), ("c", "b")]


def test_a_name_of_its_own_for_every_answer_is_told_of_so_often_only():
    """Some servers put a date or a hash there."""
    assert len(_told(*map(str, range(1_000)))) == MOST_NAMES
