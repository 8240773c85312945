"""The committed table of shapes is the one of botocore's model."""

from __future__ import annotations

import subprocess
import sys

import pytest
import shapes_generator
from judge import judge

from flowdsl.engine import Engine, engine
from flowdsl.engine.shapes import INPUTS, SHAPES
from flowdsl.model.lifecycle import DECISIONS


def _table(text):
    namespace = {}
    exec(text, namespace)
    return namespace["INPUTS"], namespace["SHAPES"]


def test_the_committed_table_is_what_the_generator_writes():
    assert _table(shapes_generator.generate()) == (INPUTS, SHAPES)


def test_the_engine_has_every_operation_of_the_model_and_no_other():
    assert set(engine._OPERATIONS) == set(INPUTS)


def test_the_decisions_of_the_table_of_lives_are_those_of_the_model():
    assert set(DECISIONS) == set(SHAPES["DecisionType"][3])


def test_the_engine_needs_no_boto3():
    code = "import sys, flowdsl.engine; sys.exit(any(name.split('.')[0] in {'boto3', 'botocore', 'dill'} for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_every_answer_of_these_tests_is_judged(swf):
    """The judge is in place, and would not let a wrong answer pass."""
    run = swf.start()
    (event, _) = swf.history(run)
    for wrong in ({"events": [event | {"eventType": "Nothing"}]}, {"events": [event | {"eventId": "1"}]}, {}, {"events": [], "more": 1}):
        with pytest.raises(AssertionError):
            judge("GetWorkflowExecutionHistory", wrong)
    assert Engine.apply.__name__ == "judged"
