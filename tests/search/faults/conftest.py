"""Counts faults and shows the counts at the end: `pytest -m faults` runs many of each kind, the default run a few."""

import pytest


@pytest.fixture
def count(record_property, request):
    """Add a line to the summary at the end."""

    def record(line):
        record_property("faults", f"{request.node.originalname}: {line}")

    return record
