"""Faults are counted, and the counts are shown at the end of the run: `pytest -m faults` does many of each, the default few."""

import pytest


@pytest.fixture
def count(record_property, request):
    """Say what was done: a line for the terminal's summary."""

    def record(line):
        record_property("faults", f"{request.node.originalname}: {line}")

    return record
