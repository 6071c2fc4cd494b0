"""Machine code that is kept belongs to the sources there are, and takes two records."""

import importlib
import inspect
import os
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import costmodel
from costmodel import kernel

ROOT = Path(costmodel.__file__).parent
DRAW = """
from costmodel.kernel.arrivals import _fill
from costmodel.inputs.workload import Workload, arrivals

sent = list(arrivals(Workload(per_second=10), seed=1, duration_s=100))
print(len(sent), sum(_fill.stats.cache_hits.values()))
"""


def drawn(folder):
    """Draw arrivals in a fresh process: how many, and how often machine code came from disk."""
    done = subprocess.run(
        [sys.executable, "-c", DRAW],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(int(word) for word in done.stdout.split())


def test_a_changed_callee_is_compiled_anew(tmp_path):
    """An edit of a file that an entry only calls into changes what is drawn, at once."""
    copied = shutil.copytree(
        ROOT, tmp_path / "costmodel", ignore=shutil.ignore_patterns("__pycache__")
    )
    first, again = drawn(tmp_path), drawn(tmp_path)
    assert (first[1], again[1]) == (0, 1)
    assert first[0] == again[0]
    callee = copied / "kernel" / "chance.py"
    before = callee.read_text()
    callee.write_text(before.replace("return -math.log(", "return -2.0 * math.log("))
    assert callee.read_text() != before
    slower, from_disk = drawn(tmp_path)
    assert from_disk == 0
    assert slower < 0.7 * first[0]


def test_compiled_functions_take_records_and_few_of_them():
    """No function of the event loop has more than seven parameters."""
    seen = 0
    for module in pkgutil.iter_modules(kernel.__path__, f"{kernel.__name__}."):
        for function in vars(importlib.import_module(module.name)).values():
            if plain := getattr(function, "py_func", None):
                assert len(inspect.signature(plain).parameters) <= 7, plain
                seen += 1
    assert seen > 40
