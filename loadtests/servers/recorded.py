"""What a task's teacher said when `raisehand label` asked it, so that a fake one can say it again.

A fake teacher that answers anything else disagrees with the student more often than the promise
allows, and the router then does what it should: it raises the alarm and asks the teacher more.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from loadtests.errors import BadRows

FORMAT = "raisehand-labels/2"


def read_recorded(path: Path, words: Sequence[str]) -> dict[str, str]:
    """Return the teacher's word for each labelled text; `words` are in class order.

    Raises:
        BadRows: the file is not what `raisehand label` writes, or has another number of classes.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            header = json.loads(stored["header"].tobytes())
            ends = np.cumsum(stored["lengths"])
            texts = stored["texts"].tobytes()
            answers, usable = stored["probabilities"].argmax(axis=1), stored["usable"]
    except (OSError, LookupError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BadRows(
            f"{path} cannot be read as labels ({type(error).__name__}); run raisehand label again"
        ) from None
    if header["format"] != FORMAT or len(header["names"]) != len(words):
        raise BadRows(
            f"{path} is {header['format']} with {len(header['names'])} classes; {FORMAT} with "
            f"{len(words)} is needed: run raisehand label again"
        )
    starts = np.concatenate([[0], ends[:-1]])
    return {
        texts[a:b].decode("utf-8", "surrogatepass"): words[answer]
        for a, b, answer, meant in zip(starts, ends, answers, usable, strict=True)
        if meant
    }
