"""What carrying a value costs: against plain msgspec and against dill, through the stores, and in memory.

`--frame-mb N` is the size of the frame whose memory peak is measured (default 256).
"""

from __future__ import annotations

import dataclasses
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dill
import msgspec

from flowdsl.data import Converter, FileStore, KeyRing, MemoryStore
from flowdsl.data.stores.steady import Steady
from flowdsl.model.payload import Slot

SLOT = Slot("bench", "value", "result")
SIZES = {"1 KB": 1_000, "100 KB": 100_000, "10 MB": 10_000_000}


@dataclasses.dataclass
class Row:
    """Known to other modules under its name, as users' classes are: a class of `__main__` dill would carry by value."""

    id: int
    name: str
    price: float
    tags: list[str]


Row.__module__ = "data"
sys.modules.setdefault("data", sys.modules[__name__])


def rows(n: int) -> list[dict[str, Any]]:
    return [{"id": i, "name": f"name {i}", "price": i * 1.1, "tags": ["a", "b"]} for i in range(n)]


def typed_rows(n: int) -> list[Row]:
    return [Row(i, f"name {i}", i * 1.1, ["a", "b"]) for i in range(n)]


def text(n: int) -> list[str]:
    return ["The quick brown fox jumps over the lazy dog. " * 20 + str(i) for i in range(n)]


KINDS: dict[str, tuple[Callable[[int], Any], Any, int]] = {  # name → (maker, annotation, about the bytes of one item)
    "rows of JSON": (rows, list[dict[str, Any]], 70),
    "dataclasses": (typed_rows, list[Row], 70),
    "texts": (text, list[str], 910),
}


def once(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def medians(functions: dict[str, Callable[[], Any]], size: int) -> dict[str, float]:
    """Interleaved, so that a busy moment hits all of them."""
    measured: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(5 if size > 1_000_000 else 25):
        for name, function in functions.items():
            if name != "dill" or size <= 1_000_000 or not turn:  # dill takes seconds for what the others do in a blink
                measured[name].append(once(function))
    return {name: statistics.median(times) for name, times in measured.items()}


def codecs() -> None:
    print(f"{'value':<14} {'size':>7} {'encode: × msgspec':>18} {'× dill':>7} {'decode: × msgspec':>18} {'× dill':>7}")
    for kind, (make, annotation, bytes_of_one) in KINDS.items():
        for label, size in SIZES.items():
            value = make(max(1, size // bytes_of_one))
            converter = Converter(store=Steady(MemoryStore(), cache=0), keys=KeyRing({"k": b"k" * 32}))
            encoder, decoder = msgspec.json.Encoder(), msgspec.json.Decoder(annotation)
            plain, pickled, ours = encoder.encode(value), dill.dumps(value), converter.encode(value, SLOT, annotation)
            encode = medians(
                {
                    "msgspec": lambda: encoder.encode(value),  # noqa: B023 - called before the next value
                    "dill": lambda: dill.dumps(value),  # noqa: B023 - as above
                    "ours": lambda: converter.encode(value, SLOT, annotation),  # noqa: B023 - as above
                },
                size,
            )
            decode = medians(
                {
                    "msgspec": lambda: decoder.decode(plain),  # noqa: B023 - as above
                    "dill": lambda: dill.loads(pickled),  # noqa: B023 - as above
                    "ours": lambda: converter.decode(ours, SLOT, annotation),  # noqa: B023 - as above
                },
                size,
            )
            ratios = [times["ours"] / times[other] for times in (encode, decode) for other in ("msgspec", "dill")]
            print(f"{kind:<14} {label:>7} {ratios[0]:>18.2f} {ratios[1]:>7.2f} {ratios[2]:>18.2f} {ratios[3]:>7.2f}")


def stores() -> None:
    print(f"\n{'store':<10} {'put, MB/s':>10} {'get, MB/s':>10}   (10 MB)")
    data = bytes(range(256)) * 39_063
    with tempfile.TemporaryDirectory() as folder:
        places: dict[str, Any] = {"memory": MemoryStore(), "file": FileStore(folder)}
        try:
            from flowdsl.data.stores.sql import SqlStore  # noqa: PLC0415 - an extra

            places["sqlite"] = SqlStore(f"sqlite:///{folder}/values.db")
        except ImportError:
            print("sqlite: pip install 'flowdsl[sql]'")
        for name, store in places.items():
            puts, gets = [], []
            for n in range(7):
                key = f"sha256/00/00/0000{n:060x}"
                puts.append(once(lambda: store.put(key, data)))  # noqa: B023 - called at once
                gets.append(once(lambda: store.get(key)))  # noqa: B023 - called at once
            print(f"{name:<10} {10 / statistics.median(puts):>10.0f} {10 / statistics.median(gets):>10.0f}")


def _peak() -> int:
    """The most memory that this program ever had, in bytes; `ru_maxrss` would count the process that started it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("this system does not say it")


def frame_in_this_process(megabytes: int, way: str) -> None:
    """Print by how many times the value's size the peak grew, the value included."""
    import numpy as np  # noqa: PLC0415 - an extra
    import pandas as pd  # noqa: PLC0415 - an extra

    with tempfile.TemporaryDirectory() as folder:
        converter = Converter(store=Steady(FileStore(folder), cache=0))
        small = pd.DataFrame(np.zeros((20_000, 8)), columns=list("abcdefgh"))
        converter.decode(converter.encode(small, SLOT), SLOT)  # whatever is loaded once is loaded
        before = _peak()
        if way == "encode":
            frame = pd.DataFrame(np.random.default_rng(1).random((megabytes * 1_000_000 // 64, 8)), columns=list("abcdefgh"))
            converter.encode(frame, SLOT)
            print((_peak() - before) / int(frame.memory_usage().sum()))
        else:
            encode = [sys.executable, __file__, "--write", str(megabytes), folder]
            reference = subprocess.run(encode, check=True, capture_output=True, text=True).stdout
            frame = converter.decode(reference, SLOT)
            print((_peak() - before) / int(frame.memory_usage().sum()))


def write(megabytes: int, folder: str) -> None:
    import numpy as np  # noqa: PLC0415 - an extra
    import pandas as pd  # noqa: PLC0415 - an extra

    frame = pd.DataFrame(np.random.default_rng(1).random((megabytes * 1_000_000 // 64, 8)), columns=list("abcdefgh"))
    print(Converter(store=FileStore(folder)).encode(frame, SLOT), end="")


def memory(megabytes: int) -> None:
    print(f"\nmemory peak of a frame of {megabytes} MB, the value included, as a multiple of it")
    for way in ("encode", "decode"):
        done = subprocess.run([sys.executable, __file__, "--frame", str(megabytes), way], check=False, capture_output=True, text=True)
        print(f"{way:<10} {float(done.stdout):>6.2f}" if done.returncode == 0 else f"{way}: {done.stderr.splitlines()[-1]}")


def main() -> None:
    if "--frame" in sys.argv:
        frame_in_this_process(int(sys.argv[2]), sys.argv[3])
    elif "--write" in sys.argv:
        write(int(sys.argv[2]), sys.argv[3])
    else:
        codecs()
        stores()
        memory(int(sys.argv[2]) if sys.argv[1:2] == ["--frame-mb"] else 256)


if __name__ == "__main__":
    main()
