"""Large values go out of band by themselves; small ones stay readable in the history."""

from __future__ import annotations

import functools
import hashlib
from contextlib import contextmanager

import pytest
from contract_stage import DURABLE, events

import flowdsl
import flowdsl.testing
from flowdsl import LimitExceeded, activity, cached, run, signal, workflow
from flowdsl.data.stores import FileStore, S3Store

TWENTY_MEGABYTES = 20_000_000


@functools.cache
def random_text(n: int) -> str:
    """What no compression makes small."""
    blocks = (hashlib.sha512(str(number).encode()).hexdigest() for number in range(n // 128 + 1))
    return "".join(blocks)[:n]


@activity
def letters(n: int) -> str:
    return random_text(n)


@activity
def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@cached
def recorded(n: int) -> str:
    return random_text(n)


@workflow
def large(n: int) -> list[str]:
    text = letters(n)
    return [digest(text), text[:10], text[-10:]]


@workflow
def everywhere(given: str) -> list[object]:
    text = letters(len(given))
    return [given == text, identity(text) == text, recorded(len(given)) == text, text]


@workflow
def identity(text: str) -> str:
    return text


class Shelf:
    """A store of a user's own."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def put(self, key: str, data: bytes) -> str:
        self.kept[key] = data
        return f"shelf://{key}"

    def get(self, uri: str) -> bytes:
        return self.kept[uri.removeprefix("shelf://")]


@contextmanager
def played(name: str, store: object):
    """A durable backend with a store of its own."""
    with (flowdsl.testing.server if name == "server" else flowdsl.testing.embedded)(store=store) as backend:
        yield backend


@pytest.fixture(params=["file", "s3", "own"])
def store(request, tmp_path):
    if request.param == "file":
        yield FileStore(tmp_path / "values")
    elif request.param == "own":
        yield Shelf()
    else:
        boto3 = pytest.importorskip("boto3")
        moto = pytest.importorskip("moto.server", reason="S3 is played by moto: pip install 'flowdsl[test]'")
        server = moto.ThreadedMotoServer(port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
        client.create_bucket(Bucket="values")
        yield S3Store("values", "flows", client=client)
        server.stop()


@pytest.mark.stages("embedded", "server")
def test_twenty_megabytes_travel_through_every_store(stage, store):
    with played(stage.name, store) as backend:
        execution = flowdsl.start(large, TWENTY_MEGABYTES, backend=backend)
        found, begin, end = execution.result()
        history = str(execution.history())
    text = random_text(TWENTY_MEGABYTES)
    assert found == hashlib.sha256(text.encode()).hexdigest()
    assert (begin, end) == (text[:10], text[-10:])
    assert len(history) < 10_000


@pytest.mark.stages(*DURABLE)
def test_arguments_results_children_and_records_go_out_of_band(stage, store):
    text = random_text(300_000)
    with played(stage.name, store) as backend:
        execution = flowdsl.start(everywhere, text, backend=backend)
        assert execution.result() == [True, True, True, text]
        assert len(str(execution.history())) < 20_000


@pytest.mark.stages("plain", "local", "embedded", "replayed")
def test_large_values_travel_without_any_setting_where_everything_is_here(stage):
    text = random_text(300_000)
    assert stage.run(everywhere, text) == [True, True, True, text]


@pytest.mark.stages("embedded", "server")
def test_small_values_stay_in_the_history(stage):
    shelf = Shelf()
    with played(stage.name, shelf) as backend:
        execution = flowdsl.start(large, 20, backend=backend)
        execution.result()
        results = [event["result"] for event in events(execution, "ActivityTaskCompleted")]
    assert results[0] == f'"{random_text(20)}"'
    assert shelf.kept == {}


own_shelf = Shelf()


@activity(store=own_shelf)
def keeps_it_elsewhere(n: int) -> str:
    return random_text(n)


@workflow
def uses_a_store_of_its_own(n: int) -> int:
    return len(keeps_it_elsewhere(n))


def test_an_activity_may_have_a_store_of_its_own(stage):
    own_shelf.kept.clear()
    assert stage.run(uses_a_store_of_its_own, 3_000_000) == 3_000_000
    assert len(own_shelf.kept) == 1


@activity
def too_large() -> str:
    return random_text(200_000)


@workflow
def asks_for_too_much() -> str:
    try:
        too_large()
    except LimitExceeded as error:
        return str(error)
    return "it fits"


@pytest.mark.stages("server")
def test_without_a_store_a_value_over_the_limit_is_refused_by_name(stage):
    text = stage.run(asks_for_too_much)
    assert "too_large" in text
    assert "32,768" in text or "32768" in text
    assert "store" in text.lower()


@pytest.mark.stages("server")
def test_without_a_store_an_argument_over_the_limit_is_refused_where_it_is_given(stage):
    with pytest.raises(LimitExceeded, match=r"digest|identity"):
        run(identity, random_text(200_000), backend=stage.backend)


@signal
def document(text: str) -> str:
    return text


@workflow
def waits_for_a_document() -> int:
    return len(document.wait())


@pytest.mark.stages("embedded", "server")
def test_signals_go_out_of_band_too(stage):
    shelf = Shelf()
    with played(stage.name, shelf) as backend:
        execution = flowdsl.start(waits_for_a_document, backend=backend)
        execution.signal(document, random_text(300_000))
        assert execution.result() == 300_000
    assert len(shelf.kept) == 1


class Lossy(Shelf):
    def get(self, uri: str) -> bytes:
        raise LookupError(uri)


@workflow
def loses_a_value() -> str:
    text = letters(1_000_000)
    try:
        digest(text)
    except Exception as error:  # whatever it is: the test looks at its name
        return type(error).__name__
    return "found"


@pytest.mark.stages("embedded", "server")
def test_a_lost_object_fails_the_call_that_needs_it(stage):
    with played(stage.name, Lossy()) as backend:
        with pytest.raises(flowdsl.PayloadLost, match="letters"):
            run(loses_a_value, backend=backend)


@pytest.mark.stages(*DURABLE)
def test_a_result_that_nobody_reads_is_never_fetched(stage):
    @workflow
    def never_looks() -> str:
        letters.start(1_000_000)
        return "did not look"

    with played(stage.name, Lossy()) as backend:
        assert run(never_looks, backend=backend) == "did not look"
