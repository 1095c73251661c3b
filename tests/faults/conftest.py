"""Faults are counted, and the counts are shown at the end of the run: `pytest -m faults` does many of each, the default few."""

import pytest


@pytest.fixture
def count(record_property, request):
    """Say what was done: a line for the terminal's summary."""

    def record(line):
        record_property("faults", f"{request.node.originalname}: {line}")

    return record


def pytest_terminal_summary(terminalreporter):
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    lines = [text for report in reports for name, text in report.user_properties if name == "faults"]
    if lines:
        terminalreporter.section("faults")
        for line in lines:
            terminalreporter.write_line(line)
