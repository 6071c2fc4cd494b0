"""What a cluster's processes do, without a cluster: faults come back as rows."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from costmodel.errors import BadTable, LostCluster
from costmodel.ray_cluster import RayCluster, version_here
from router.batch.on_ray.engine import _joined
from router.batch.on_ray.pool import RayPool, pool_of
from router.batch.on_ray.work import StudentWorker, TextsWanted, read_texts
from router.batch.scoring import RawChunk, score
from router.batch.tables.sources import open_source
from router.errors import BadSettings
from students.runtime.bundle import MANIFEST, find_bundle
from students.runtime.load import load_student


@pytest.fixture
def work(job_folder):
    """A task's bundle and two tables of three rows."""
    folder = job_folder()
    (folder / "rows").mkdir()
    for name in ("a", "b"):
        table = pa.table({"text": [f"help {name}", None, "all is well"]})
        pq.write_table(table, folder / "rows" / f"{name}.parquet")
    source = open_source(str(folder / "rows"), "text", "", folder)
    return find_bundle(folder / ".raisehand"), TextsWanted(source, "text", 2, version_here())


def packed(bundle):
    """The files as the driver hands them in."""
    return {name: (bundle.path / name).read_bytes() for name in (MANIFEST, *bundle.manifest.files)}


def answered(bundle, wanted, skip=0):
    """What one reader and one student make of both files."""
    files = pa.table({"file": [0, 1], "skip": [skip, 0]})
    worker = StudentWorker(packed(bundle), "cpu")
    return worker(pa.concat_tables(read_texts(files, wanted))).to_pylist()


def chunks(wanted, folder):
    """The same chunks as a driver reads them."""
    number = 0
    for at, file in enumerate(wanted.source.files):
        for place, rows in enumerate(wanted.source.read(file, "text", 2, folder)):
            yield RawChunk(number, number * 2, rows, at, place)
            number += 1


def test_answers_are_those_of_the_student_here(work, tmp_path):
    """Chunk for chunk, labels, confidences and empty rows."""
    bundle, wanted = work
    student = load_student(bundle)
    for raw, row in zip(chunks(wanted, tmp_path), answered(bundle, wanted), strict=True):
        here, there = score(student, raw), _joined(raw, row)
        for field in ("labels", "confidences", "empty"):
            one, other = getattr(here.said, field), getattr(there.said, field)
            assert one.dtype == other.dtype
            assert one.tobytes() == other.tobytes()


def test_what_is_done_is_not_answered_again(work):
    """The first chunks of the file where work goes on are left out."""
    places = [(row["file"], row["chunk"]) for row in answered(*work, skip=1)]
    assert places == [(0, 1), (1, 0), (1, 1)]


def test_a_file_that_a_worker_does_not_see_is_named(work):
    """With the machine; the chunk's place tells the driver where."""
    bundle, wanted = work
    raw = next(chunks(wanted, None))
    for path in wanted.source.files:
        pa.OSFile(path.name, "w").close()
    [row, _] = answered(bundle, wanted)
    with pytest.raises(BadTable, match=r"worker of the Ray cluster .* on .*a\.parquet"):
        _joined(raw, row)


def test_another_version_there_is_refused(work):
    """Chunks could be cut otherwise, and texts be folded otherwise."""
    bundle, wanted = work
    other = TextsWanted(wanted.source, "text", 2, "0.0.1")
    assert "the work comes from 0.0.1; install the same" in answered(bundle, other)[0]["fault"]


def test_an_altered_bundle_is_refused(work):
    """What came over the network is checked like a file of this disk."""
    bundle, wanted = work
    files = packed(bundle) | {"weights.safetensors": b"x"}
    texts = pa.concat_tables(read_texts(pa.table({"file": [0], "skip": [0]}), wanted))
    assert "was altered" in StudentWorker(files, "cpu")(texts).to_pylist()[0]["fault"]


@pytest.mark.parametrize("change", ["other texts", "another chunk", "nothing"])
def test_other_rows_there_than_here_are_refused(work, tmp_path, change):
    """A folder that is not shared holds another table of the same name."""
    bundle, wanted = work
    first, second = list(chunks(wanted, tmp_path))[:2]
    rows = answered(bundle, wanted)
    row = {"other texts": rows[2] | {"file": 0}, "another chunk": rows[1], "nothing": None}[change]
    with pytest.raises(BadTable, match="read other rows than this machine"):
        _joined(first, row)
    assert _joined(second, rows[1])


@pytest.mark.parametrize(
    ("pool", "cluster", "students"),
    [
        (RayPool(), RayCluster(8, 0, 2), 7),
        (RayPool(3), RayCluster(8, 0, 2), 3),
        (RayPool(None, 0.5), RayCluster(8, 2, 1), 4),
        (RayPool(8), RayCluster(8, 0, 2), "room for 7 students, and 8 were asked for"),
        (RayPool(), RayCluster(1, 0, 1), "room for 0 students, and 1 were asked for"),
        (RayPool(None, 1), RayCluster(8, 0, 1), "takes 1 CPU and 1 GPU"),
    ],
)
def test_students_that_leave_nobody_to_read_are_refused(pool, cluster, students):
    """Ray would wait for ever, and say nothing."""
    if isinstance(students, int):
        assert pool.fitting(cluster) == students
        return
    with pytest.raises(BadSettings, match=students):
        pool.fitting(cluster)


def test_as_many_students_as_fit_go_on():
    """Those asked for, or fewer; where none fits, one sentence says so."""
    assert RayPool(3).left(RayCluster(8, 0, 2)) == 3
    assert RayPool(3).left(RayCluster(2, 0, 1)) == 1
    assert RayPool(None, 0.5).left(RayCluster(8, 1, 1)) == 2
    with pytest.raises(LostCluster, match="has 1 node, 0 CPUs left: no room"):
        RayPool(3).left(RayCluster(0, 0, 1))


def test_options_of_the_other_engine_are_refused():
    """An option that changes nothing would be a wrong belief."""
    assert pool_of("local", threads=2, students=None, gpus=None) is None
    assert pool_of("ray", threads=None, students=2, gpus=0.5) == RayPool(2, 0.5)
    with pytest.raises(BadSettings, match="--threads is of --engine local"):
        pool_of("ray", threads=1, students=None, gpus=None)
    with pytest.raises(BadSettings, match="are of --engine ray"):
        pool_of("local", threads=None, students=1, gpus=None)
