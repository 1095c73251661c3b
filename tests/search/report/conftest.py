import pytest

from search.report.page import write_report
from tests.helpers.reports import contents, ranking


@pytest.fixture(scope="session")
def page_file(tmp_path_factory):
    """A page with everything that a report can show. Tests only read it: its figures take two seconds."""
    rows = ranking()
    return write_report(tmp_path_factory.mktemp("report"), rows, **contents(rows))
