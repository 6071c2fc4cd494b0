"""A bundle store gives back what was pushed, byte for byte, or refuses; on three kinds of store."""

import itertools
import json
import os
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pytest

from students.errors import BadBundle
from students.runtime import store as module
from students.runtime.bundle import Manifest, draft, find_bundle, hash_files, publish
from students.runtime.store import BundleStore, obtain
from students.teachers.protocol import TeacherDescriptor


@pytest.fixture(scope="module")
def s3():
    """A bucket of moto's S3 server, reached through s3fs over HTTP like any other."""
    from moto.server import ThreadedMotoServer

    before = dict(os.environ)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    fsspec.filesystem("s3").mkdir("models")
    yield "s3://models"
    server.stop()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(params=["file", "memory", "s3"])
def url(request, tmp_path):
    """An empty store of each kind."""
    if request.param == "file":
        return f"file://{tmp_path}/store"
    bucket = request.getfixturevalue("s3") if request.param == "s3" else "memory://models"
    return f"{bucket}/{uuid.uuid4().hex}"


def make(work_dir, content=b"weights", **changes):
    """Publish a bundle of two files."""
    with draft(work_dir / "bundles") as folder:
        (folder / "weights.safetensors").write_bytes(content)
        (folder / "tokenizer.json").write_bytes(b"{}")
        fields = {
            "task": "demo",
            "labels": ("no", "yes"),
            "family": "linear",
            "config": {"shortest": 2, "longest": 4},
            "temperature": 1.0,
            "confidence": "max_probability",
            "files": hash_files(folder),
            "teacher": TeacherDescriptor("classify", "m", "1", "", "{}"),
            "created": "2026-01-01",
        }
        return publish(folder, Manifest.model_validate(fields | changes))


def files_of(bundle):
    """Every byte of a bundle."""
    return {path.name: path.read_bytes() for path in bundle.path.iterdir()}


def where(url, bundle, name):
    """A file of a bundle in a store, past the class under test."""
    fs, root = fsspec.url_to_fs(url, use_listings_cache=False)
    return fs, f"{root.rstrip('/')}/sha256/{bundle.digest}/{name}"


def test_what_is_pushed_is_pulled_byte_for_byte(tmp_path, url):
    """By the beginning of the id or by the whole digest; pushing again sends nothing."""
    here, there, third = tmp_path / "here", tmp_path / "there", tmp_path / "third"
    one, two = make(here, b"1" * 100_000), make(here, b"2", created="2026-01-02")
    store = BundleStore(url)
    assert store.bundles() == []
    assert [store.push(one), store.push(two), store.push(one)] == [True, True, False]
    assert [found.id for found in store.bundles()] == [two.id, one.id]
    assert files_of(store.pull(one.id[:6], there)) == files_of(one)
    assert files_of(store.pull(one.digest, third)) == files_of(one)
    names = {path.name for path in (there / "bundles").iterdir()}
    assert names == {one.id, ".fetching"}, "no draft is left, and none is made the latest"


@pytest.mark.parametrize("cut", ["manifest.json", "weights.safetensors"])
def test_half_an_upload_is_never_seen(tmp_path, url, cut):
    """A push that died before or within a file shows nothing, and the next one mends it."""
    bundle, store = make(tmp_path / "here", b"w" * 1000), BundleStore(url)
    names = [*bundle.manifest.files, "manifest.json"]
    for name in names[: names.index(cut) + 1]:
        fs, path = where(url, bundle, name)
        whole = (bundle.path / name).read_bytes()
        fs.makedirs(path.rpartition("/")[0], exist_ok=True) if "s3" not in url else None
        fs.pipe_file(path, whole[: len(whole) // 2] if name == cut else whole)
    assert store.bundles() == []
    with pytest.raises(BadBundle, match="0 bundles in"):
        store.pull(bundle.id, tmp_path / "there")
    assert store.push(bundle)
    assert files_of(store.pull(bundle.id, tmp_path / "there")) == files_of(bundle)


def test_a_file_that_was_altered_is_refused(tmp_path, url):
    """Named with its address; nothing is left where bundles are looked for."""
    bundle, store = make(tmp_path / "here"), BundleStore(url)
    store.push(bundle)
    fs, path = where(url, bundle, "weights.safetensors")
    fs.pipe_file(path, b"WEIGHTS")
    with pytest.raises(BadBundle, match=r"weights\.safetensors was altered: its sha256 is"):
        store.pull(bundle.id, tmp_path / "there")
    fs.rm_file(path)
    with pytest.raises(BadBundle, match="FileNotFoundError"):
        store.pull(bundle.id, tmp_path / "there")
    assert [path.name for path in (tmp_path / "there" / "bundles").iterdir()] == [".fetching"]


def test_many_push_and_pull_at_once(tmp_path, url):
    """Whatever a reader meets is whole, and each reader of a host ends with the same folder."""
    bundle = make(tmp_path / "here", b"w" * 300_000)
    start = threading.Barrier(6)

    def push(_):
        start.wait()
        return BundleStore(url).push(bundle)

    def pull(_):
        start.wait()
        while bundle.id not in [found.id for found in BundleStore(url).bundles()]:
            pass
        return BundleStore(url).pull(bundle.id, tmp_path / "there")

    with ThreadPoolExecutor(6) as pool:
        pushes = [pool.submit(push, n) for n in range(3)]
        pulls = [pool.submit(pull, n) for n in range(3)]
        assert any(done.result() for done in pushes)
        assert {done.result().path for done in pulls} == {tmp_path / "there/bundles" / bundle.id}
    assert files_of(find_bundle(tmp_path / "there", bundle.id)) == files_of(bundle)


def test_what_is_here_is_not_fetched(tmp_path, monkeypatch):
    """A bundle on this disk is served when its store is away, and never written again."""
    bundle = make(tmp_path)
    monkeypatch.setattr(module, "BundleStore", None)
    assert obtain(tmp_path, bundle.id, "s3://away") == bundle
    assert obtain(tmp_path, None, "s3://away") == bundle
    monkeypatch.undo()
    store = BundleStore(str(tmp_path / "store"))
    store.push(bundle)
    (bundle.path / "weights.safetensors").write_bytes(b"altered")
    with pytest.raises(BadBundle, match="was altered"):
        store.pull(bundle.id, tmp_path)


def test_a_bundle_of_another_version_is_named_and_listed_by_none(tmp_path):
    """It is whole, and not for this program."""
    bundle, store = make(tmp_path), BundleStore(str(tmp_path / "store"))
    raw = json.loads((bundle.path / "manifest.json").read_text()) | {"format": "raisehand-bundle/9"}
    (bundle.path / "manifest.json").write_text(json.dumps(raw))
    later = type(bundle)(bundle.path, bundle.manifest)
    store.push(later)
    assert store.bundles() == []
    with pytest.raises(BadBundle, match="is not for this version"):
        store.pull(later.id, tmp_path / "there")


def test_the_name_must_name_one(tmp_path):
    """An ambiguous beginning is refused with the command that shows what there is."""
    store = BundleStore(str(tmp_path / "store"))
    for n in range(17):
        store.push(make(tmp_path, b"%d" % n))
    first = sorted(found.id for found in store.bundles())
    double = next(a[0] for a, b in itertools.pairwise(first) if a[0] == b[0])
    with pytest.raises(BadBundle, match=rf"bundles in .*begin with '{double}'; see"):
        store.pull(double, tmp_path / "there")
    with pytest.raises(BadBundle, match="begin with ''"):
        store.pull("", tmp_path / "there")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense://bucket", "is no place for bundles: Protocol not known"),
        ("gs://bucket", r"pip install 'raisehand\[gcs\]'"),
        ("az://box", r"pip install 'raisehand\[azure\]'"),
    ],
)
def test_a_url_that_cannot_be_read_says_what_to_do(url, said, monkeypatch):
    """The scheme is unknown, or its library is an extra that is not here."""
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    monkeypatch.setitem(sys.modules, "adlfs", None)
    with pytest.raises(BadBundle, match=said):
        BundleStore(url)


def test_errors_show_no_password(tmp_path):
    """What stands before the @ of an address is nobody's to read."""
    with pytest.raises(BadBundle) as caught:
        BundleStore("nonsense://me:secret@host/x")
    assert "secret" not in str(caught.value)
