"""Stores: what is put is what is got, whatever happens to it in between."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from flowdsl.data import Converter, FileStore, KeyRing, MemoryStore, S3Store, default_converter, store_from
from flowdsl.data.stores import content_key
from flowdsl.errors import DefinitionError, PayloadLost, StoreUnavailable
from flowdsl.model.payload import Slot, content_digest

SLOT = Slot("orders", "score", "result")
DATA = random.Random(3).randbytes(100_000)
KEY = content_key(content_digest(DATA))


@pytest.fixture
def bucket():
    boto3 = pytest.importorskip("boto3")
    moto = pytest.importorskip("moto")
    with moto.mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="payloads")
        yield client


@pytest.fixture(params=["memory", "file", "s3", "own"])
def store(request, tmp_path):
    if request.param == "memory":
        return MemoryStore()
    if request.param == "file":
        return FileStore(tmp_path / "a folder with späces" / "und ünïcode")
    if request.param == "s3":
        return S3Store("payloads", "some/prefix", client=request.getfixturevalue("bucket"))

    class Own:
        def __init__(self):
            self.rows = {}

        def put(self, key, data):
            self.rows[key] = data
            return f"own://{key}"

        def get(self, uri):
            return self.rows[uri.removeprefix("own://")]

    return Own()


def test_what_is_put_is_got(store):
    uri = store.put(KEY, DATA)
    assert store.get(uri) == DATA
    assert store.put(KEY, DATA) == uri


def test_what_is_not_there_is_a_lookup_error(store):
    uri = store.put(KEY, DATA)
    with pytest.raises(LookupError):
        store.get(uri.replace(KEY, content_key(content_digest(b"something else"))))


def test_a_large_value_goes_through_the_store_by_itself(store):
    converter = Converter(store=store)
    text = converter.encode(DATA, SLOT, bytes)
    assert len(text) < 500
    assert converter.decode(text, SLOT, bytes) == DATA


def test_the_uri_of_a_file_is_one_that_others_understand(tmp_path):
    from urllib.parse import unquote, urlsplit

    uri = FileStore(tmp_path / "a b#c?ü").put(KEY, DATA)
    assert Path(unquote(urlsplit(uri).path)).read_bytes() == DATA


def test_a_folder_may_move(tmp_path):
    text = Converter(store=FileStore(tmp_path / "old")).encode(DATA, SLOT)
    (tmp_path / "old").rename(tmp_path / "new")
    assert Converter(store=FileStore(tmp_path / "new")).decode(text, SLOT) == DATA


def test_a_uri_never_leads_out_of_the_store(tmp_path, bucket):
    (tmp_path / "secret").write_bytes(DATA)
    for store in (FileStore(tmp_path / "store"), MemoryStore(), S3Store("payloads", client=bucket)):
        for uri in (
            f"file://{tmp_path}/secret",
            "/etc/passwd",
            "s3://other/secret",
            f"sha256/../../{KEY}",
            KEY.replace("sha256/", "sha256/../sha256/"),
        ):
            with pytest.raises(LookupError):
                store.get(uri)


def test_writing_a_file_leaves_nothing_else_behind(tmp_path):
    store = FileStore(tmp_path)
    store.put(KEY, DATA)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()] == [KEY]


def test_an_object_of_the_wrong_size_is_written_again(tmp_path):
    store = FileStore(tmp_path)
    uri = store.put(KEY, DATA)
    (tmp_path / KEY).write_bytes(DATA[:10])
    store.put(KEY, DATA)
    assert store.get(uri) == DATA


def stored(tmp_path):
    converter = Converter(store=FileStore(tmp_path), keys=KeyRing({"k": b"k" * 32}))
    text = converter.encode(DATA.hex(), SLOT)
    return converter, text, next(path for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\0"),
        lambda path: path.write_bytes(b""),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["missing", "truncated", "altered", "empty", "a folder"],
)
def test_a_harmed_object_fails_by_name(tmp_path, harm):
    converter, text, path = stored(tmp_path)
    harm(path)
    with pytest.raises(PayloadLost, match=rf"result of 'score' is at file://.*{path.name}"):
        converter.decode(text, SLOT)
    assert converter.decode("1", SLOT) == 1


def test_an_object_swapped_with_another_one_is_noticed(tmp_path):
    converter, text, _ = stored(tmp_path)
    other = converter.encode(DATA.hex()[::-1], SLOT)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    first, second = (file.read_bytes() for file in files)
    files[0].write_bytes(second)
    files[1].write_bytes(first)
    for one in (text, other):
        with pytest.raises(PayloadLost, match="altered"):
            converter.decode(one, SLOT)


def test_a_store_that_is_away_fails_by_name():
    class Away:
        def put(self, key, data):
            raise ConnectionError("no route to host")

        def get(self, uri):
            raise ConnectionError("no route to host")

    with pytest.raises(StoreUnavailable, match=r"argument 'rows' of 'score'.*no route to host"):
        Converter(store=Away()).encode(DATA, SLOT, argument="rows")
    text = Converter(store=MemoryStore()).encode(DATA, SLOT)
    with pytest.raises(PayloadLost, match="no route to host"):
        Converter(store=Away()).decode(text, SLOT)
    with pytest.raises(PayloadLost, match="FLOWDSL_STORE"):
        Converter().decode(text, SLOT)


def test_s3_objects_are_written_once_with_the_options_given(bucket):
    store = S3Store("payloads", "p", client=bucket, options={"ServerSideEncryption": "AES256"})
    uri = store.put(KEY, DATA)
    assert uri == f"s3://payloads/p/{KEY}"
    first = bucket.head_object(Bucket="payloads", Key=f"p/{KEY}")
    store.put(KEY, DATA)
    assert bucket.head_object(Bucket="payloads", Key=f"p/{KEY}")["LastModified"] == first["LastModified"]
    assert first["ServerSideEncryption"] == "AES256"


def test_the_s3_client_is_made_when_it_is_needed(bucket):
    store = S3Store("payloads")
    assert store.get(store.put(KEY, DATA)) == DATA


def test_a_missing_bucket_fails_by_name(bucket):
    with pytest.raises(StoreUnavailable, match="nowhere"):
        Converter(store=S3Store("nowhere", client=bucket)).encode(DATA, SLOT)


def test_settings_name_stores(tmp_path, monkeypatch):
    assert store_from(None) is None
    assert store_from("") is None
    for where in (f"file://{tmp_path}/a%20b", str(tmp_path / "a b"), tmp_path / "a b", f"file://localhost{tmp_path}/a b"):
        assert repr(store_from(where)) == repr(FileStore(tmp_path / "a b"))
    s3 = store_from("s3://bucket/some/prefix/")
    assert (s3.bucket, s3.prefix) == ("bucket", "some/prefix")
    assert store_from("memory:x") is store_from("memory:x")
    assert store_from("memory:x") is not store_from("memory:y")
    for wrong in ("what://x", "file://host/x", 3, MemoryStore, "s3://", "s3://b?colour=red", "redis://h?ttl=soon", "sqlite://?table=a b"):
        with pytest.raises(DefinitionError):
            store_from(wrong)
    monkeypatch.setenv("FLOWDSL_STORE", str(tmp_path / "large"))
    default_converter().encode(os.urandom(100_000), SLOT)
    assert (tmp_path / "large" / "sha256").is_dir()


def test_a_function_may_have_a_store_of_its_own():
    mine, its = MemoryStore(), MemoryStore()
    converter = Converter(store=mine)
    own = converter.replaced(store=its)
    text = own.encode(DATA, SLOT)
    assert (len(mine.objects), len(its.objects)) == (0, 1)
    assert own.decode(text, SLOT) == DATA
    assert converter.replaced(store=its) is own
