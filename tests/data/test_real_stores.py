"""Stores against real servers: Redis and PostgreSQL of the system's packages, SQLite, moto's S3, fsspec's own file systems."""

from __future__ import annotations

import random
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from real_servers import postgres_server, redis_server

from flowdsl import PayloadLost
from flowdsl.data import Converter, S3Store, store_from
from flowdsl.data.stores.base import content_key
from flowdsl.data.stores.files import FsspecStore
from flowdsl.data.stores.redis import RedisStore
from flowdsl.data.stores.sql import SqlStore
from flowdsl.data.stores.steady import Steady
from flowdsl.errors import DefinitionError, StoreUnavailable
from flowdsl.model.payload import Slot, content_digest

SLOT = Slot("orders", "score", "result")
DATA = random.Random(5).randbytes(300_000)
KEY = content_key(content_digest(DATA))
LARGE = random.Random(6).randbytes(11 << 20)
LARGE_KEY = content_key(content_digest(LARGE))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder that another user may enter: pytest's own belong to this user alone."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="module")
def redis_url(place):
    (place / "redis").mkdir()
    with redis_server(place / "redis") as url:
        yield url


@pytest.fixture(scope="module")
def postgres_url(place):
    (place / "postgres").mkdir()
    with postgres_server(place / "postgres") as url:
        yield url


@pytest.fixture(scope="module")
def bucket():
    boto3, moto = pytest.importorskip("boto3"), pytest.importorskip("moto")
    with moto.mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="values")
        yield client


@pytest.fixture(params=["redis", "postgresql", "sqlite", "fsspec", "s3 in parts"])
def store(request, tmp_path):
    one = opened(request, tmp_path)
    yield one
    if hasattr(one, "close"):
        one.close()


def opened(request, tmp_path):
    if request.param == "redis":
        return store_from(f"{request.getfixturevalue('redis_url')}?prefix=t{random.getrandbits(40)}&ttl=3600")
    if request.param == "postgresql":
        return store_from(f"{request.getfixturevalue('postgres_url')}?table=t{random.getrandbits(40)}")
    if request.param == "sqlite":
        pytest.importorskip("sqlalchemy", reason="the SQL store needs pip install 'flowdsl[sql]'")
        return store_from(f"sqlite:///{tmp_path}/values.db")
    if request.param == "fsspec":
        pytest.importorskip("fsspec", reason="pip install 'flowdsl[fsspec]'")
        return store_from(f"fsspec+file://{tmp_path}/values")
    return S3Store("values", f"p{random.getrandbits(40)}", client=request.getfixturevalue("bucket"), part=5 << 20)


def test_a_uri_gives_the_store_it_names(store):
    assert isinstance(store, (RedisStore, SqlStore, FsspecStore, S3Store))


def test_what_is_put_is_got_and_putting_it_again_changes_nothing(store):
    for key, data in ((KEY, DATA), (LARGE_KEY, memoryview(LARGE))):
        uri = store.put(key, data)
        assert store.get(uri) == data
        assert store.put(key, data) == uri
        assert store.get(uri) == data
    assert sorted((one.key, one.size) for one in store.stored()) == sorted([(KEY, len(DATA)), (LARGE_KEY, len(LARGE))])
    assert all(-60 < one.age < 3600 for one in store.stored())


def test_what_is_not_there_or_was_deleted_is_a_lookup_error(store):
    uri = store.put(KEY, DATA)
    with pytest.raises(LookupError):
        store.get(uri.replace(KEY, content_key(content_digest(b"something else"))))
    store.delete(KEY)
    store.delete(KEY)
    with pytest.raises(LookupError):
        store.get(uri)
    with pytest.raises(LookupError):
        store.get(f"../../{KEY}/secret")
    assert list(store.stored()) == []


def test_threads_that_store_the_same_bytes_at_once_disturb_nobody(store, request):
    if "s3" in request.node.callspec.id:
        pytest.skip("moto's S3 closes an object's buffer while another thread asks for its ETag")
    with ThreadPoolExecutor(8) as pool:
        uris = set(pool.map(lambda _: store.put(KEY, DATA), range(16)))
    assert len(uris) == 1
    assert store.get(uris.pop()) == DATA


def test_a_value_travels_through_it_and_a_lost_one_fails_by_name(store):
    converter = Converter(store=store)
    text = converter.encode(DATA.hex(), SLOT)
    assert len(text) < 500
    assert Converter(store=store).decode(text, SLOT) == DATA.hex()
    for one in list(store.stored()):
        store.delete(one.key)
    with pytest.raises(PayloadLost, match=r"result of 'score' is at"):
        Converter(store=store).decode(text, SLOT)
    assert Converter(store=store).decode("1", SLOT) == 1


def test_a_password_is_not_shown():
    pytest.importorskip("redis")
    for uri in ("redis://user:hidden@h:1/0", "postgresql+psycopg://user:hidden@h/d"):
        assert "hidden" not in repr(store_from(uri))


@pytest.mark.parametrize("uri", ["redis://127.0.0.1:1/0", "postgresql+psycopg://nobody@127.0.0.1:1/x"])
def test_a_server_that_is_away_is_tried_again_and_then_fails_by_name(uri):
    pauses = []
    converter = Converter(store=Steady(store_from(uri), sleep=pauses.append))
    with pytest.raises(StoreUnavailable, match="result of 'score'"):
        converter.encode(DATA, SLOT)
    assert len(pauses) == 3


def test_s3_takes_the_options_of_its_uri(bucket):
    key_id = pytest.importorskip("boto3").client("kms", region_name="us-east-1").create_key()["KeyMetadata"]["KeyId"]
    store = store_from(f"s3://values/kms?kms_key={key_id}&storage_class=STANDARD_IA&region=us-east-1")
    for key, data in ((KEY, DATA), (LARGE_KEY, LARGE)):
        store.put(key, data)
        about = bucket.head_object(Bucket="values", Key=f"kms/{key}")
        assert about["ServerSideEncryption"] == "aws:kms"
        assert about["SSEKMSKeyId"].endswith(key_id)
        assert about["StorageClass"] == "STANDARD_IA"
        assert store.get(f"s3://values/kms/{key}") == data


def test_a_database_that_cannot_be_reached_by_its_url_is_refused():
    with pytest.raises(DefinitionError, match="nosuchdriver"):
        store_from("postgresql+nosuchdriver://h/d")
