"""Progress in a log."""

import io

from rich.console import Console

from students.commands.bars import Bars


def test_a_log_shows_progress_while_it_goes_on():
    """Where there is no terminal, each update that is due writes the bars as a line."""
    written = _progress(line_every_s=0.0)
    assert [line.split()[0] for line in written] == ["train"] * 4
    assert [line.split()[-2] for line in written] == ["25%", "50%", "75%", "75%"]


def test_a_log_is_not_filled_with_progress():
    """Updates within the interval write nothing but the last state."""
    assert len(_progress(line_every_s=3600.0)) == 1


def _progress(line_every_s):
    log = io.StringIO()
    with Bars(console=Console(file=log, width=80), line_every_s=line_every_s) as bars:
        task = bars.add_task("train", total=4)
        for done in (1, 2, 3):
            bars.update(task, completed=done)
    return log.getvalue().strip().splitlines()
