"""Write `flowdsl/engine/shapes.py` from botocore's model of Amazon SWF: `python tests/engine/shapes_generator.py`.

The engine must not need boto3 at run time, so what it validates by is a committed table. `test_shapes.py` generates it again and
compares: a change of AWS's model shows up as a failing test, never as a silent difference.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from botocore.loaders import Loader

TARGET = Path(__file__).parents[2] / "flowdsl" / "engine" / "shapes.py"

HEADER = '''"""The shapes of Amazon SWF's requests: generated from botocore's model `swf/2012-01-25`, never edited by hand.

Rule 1: written by `tests/engine/shapes_generator.py`; a test compares this file with botocore's model.
Rule 2: a shape is `("structure", {member: (shape, required)})`, `("list", shape, min, max)`, `("string", min, max, enum)`,
        `("integer", min, max)`, `("boolean",)` or `("timestamp",)`; a bound that the model does not have is None.
"""

from __future__ import annotations

from typing import Any

'''


def _shape(model: dict[str, Any]) -> tuple[Any, ...]:
    kind = model["type"]
    if kind == "structure":
        required = set(model.get("required", ()))
        return kind, {name: (member["shape"], name in required) for name, member in model["members"].items()}
    if kind == "list":
        return kind, model["member"]["shape"], model.get("min"), model.get("max")
    if kind == "string":
        return kind, model.get("min"), model.get("max"), tuple(model["enum"]) if "enum" in model else None
    if kind in {"integer", "long"}:
        return "integer", model.get("min"), model.get("max")
    return (kind,)


def _reachable(shapes: dict[str, Any], roots: list[str]) -> list[str]:
    seen: set[str] = set()
    todo = list(roots)
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        model = shapes[name]
        todo += [member["shape"] for member in model.get("members", {}).values()]
        if "member" in model:
            todo.append(model["member"]["shape"])
    return sorted(seen)


def _literal(value: object, indent: int, before: int = 0) -> str:
    line = repr(value).replace("'", '"')
    if len(line) + indent + before <= 138:
        return line
    pad = " " * (indent + 4)
    if isinstance(value, dict):
        body = "".join(f"{pad}{_literal(k, 0)}: {_literal(v, indent + 4, len(repr(k)) + 3)},\n" for k, v in value.items())
        return "{\n" + body + " " * indent + "}"
    assert isinstance(value, tuple)
    body = "".join(f"{pad}{_literal(item, indent + 4)},\n" for item in value)
    return "(\n" + body + " " * indent + ")"


def generate() -> str:
    """The text of `shapes.py`."""
    model = Loader().load_service_model("swf", "service-2", "2012-01-25")
    inputs = {name: operation["input"]["shape"] for name, operation in sorted(model["operations"].items())}
    shapes = {name: _shape(model["shapes"][name]) for name in _reachable(model["shapes"], list(inputs.values()))}
    return (
        HEADER
        + "#: operation -> the shape of its request\nINPUTS: dict[str, str] = "
        + _literal(inputs, 0)
        + "\n\n#: shape name -> shape\nSHAPES: dict[str, tuple[Any, ...]] = "
        + _literal(shapes, 0)
        + "\n"
    )


if __name__ == "__main__":
    TARGET.write_text(generate())
