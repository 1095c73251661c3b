import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.helpers.compilation import interpreted  # noqa: F401 (a fixture)
from tinygrad_lab.autodiff.ops import OP_TABLE
from tinygrad_lab.program.lanes import RULES

# Derandomised: a failure in CI is a failure everywhere. The number of examples is what the default run has time for.
settings.register_profile(
    "default", max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "mutation",
    max_examples=5,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
settings.register_profile("thorough", max_examples=500, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

collect_ignore = ["mutation.py"]  # a command, which needs tools that only the `dev` extra installs


def pytest_configure(config):
    """Give all processes of a test run one cache of compiled programs, so that each program is compiled once.

    The cache is new, so that the user's own one neither changes nor decides how a test runs. Workers of pytest-xdist and the
    processes that tests start inherit it. Set TINYGRAD_LAB_CACHE to keep one between test runs.
    """
    if not os.environ.get("TINYGRAD_LAB_CACHE"):
        folder = tempfile.mkdtemp(prefix="tinygrad-lab-tests-")
        os.environ["TINYGRAD_LAB_CACHE"] = folder
        config.add_cleanup(lambda: (os.environ.pop("TINYGRAD_LAB_CACHE"), shutil.rmtree(folder, ignore_errors=True)))


def pytest_sessionstart():
    """Let Ctrl-C arrive, as some tests expect. A shell's background jobs ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Exempt what is collected from garbage collection: it stays until the end.

    Thousands of tests and the libraries that they import are more than 300,000 objects. To go through them took a tenth of
    a test run.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture
def own_ops() -> Iterator[None]:
    """Take back the ops that a test defines, since other tests range over the table of ops."""
    known, rules = set(OP_TABLE), dict(RULES)
    yield
    for name in set(OP_TABLE) - known:
        del OP_TABLE[name]
    RULES.clear()
    RULES.update(rules)


@pytest.fixture(scope="session")
def report_data() -> Path:
    """The folder of the report's original data, which the project does not ship."""
    folder = Path(os.environ.get("TINYGRAD_LAB_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / "training_set.txt").exists():
        pytest.skip(f"the report's original data are not in {folder}")
    return folder


def pytest_terminal_summary(terminalreporter):
    """Show what the fault tests have counted; see tests/search/faults/conftest.py."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    lines = [text for report in reports for name, text in report.user_properties if name == "faults"]
    if lines:
        terminalreporter.section("faults")
        for line in lines:
            terminalreporter.write_line(line)
