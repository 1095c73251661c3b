"""Where functions cannot be sent by name: notebooks, lambdas, closures. And processes that may not start others."""

import multiprocessing

import nbclient
import nbformat
import pytest

from search import GridSearch, SearchError
from search.testing import build_polynomial
from tests.helpers.searches import build_scored, data

DEFINITIONS = """
import loky
from search import GridSearch, ParameterGrid, SearchError
from search.testing import Polynomial, PolynomialTrainer

EPOCHS = 20

class Trainer(PolynomialTrainer):
    pass

def build(configuration, rng):
    return Trainer(Polynomial(configuration["degree"], rng), 0.5, EPOCHS)

def losses(build, **options):
    search = GridSearch(build, ParameterGrid(degree=[1, 2]), store=None, **options)
    return [row.losses for row in search.run([0.0, 0.2, 0.4, 0.6, 0.8], [0.0, 0.1, 0.2, 0.4, 0.7], progress=False)]
"""
SEARCHES = """
EPOCHS = 5
executor = loky.get_reusable_executor(max_workers=1)
assert losses(build, workers=1) == losses(build, executor=executor)
in_a_lambda = lambda configuration, rng: build(configuration, rng)
assert losses(in_a_lambda, workers=1) == losses(in_a_lambda, executor=executor)
try:
    losses(build, workers=2)
except SearchError as error:
    print(error)
executor.shutdown()
"""


def test_a_function_of_a_notebook_on_an_executor_that_sends_it_by_value():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in (DEFINITIONS, SEARCHES)])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    [output] = notebook.cells[1].outputs
    assert output.text.startswith("build=build was typed into an interactive session, where worker processes cannot find it; ")
    assert output.text.count("\n") == 1


@pytest.mark.parametrize("wrong", [{"workers": 2}, {"workers": 1, "time_limit": 60.0}])
def test_a_closure_is_searched_in_this_process_and_not_sent(wrong):
    epochs = 2

    def build(configuration, rng):
        return build_polynomial(configuration | {"epochs": epochs}, rng)

    grid = [{"degree": 1}, {"degree": 2}]
    assert len(GridSearch(build, grid, store=None, workers=1).run(*data(), progress=False)) == 2
    with pytest.raises(
        TypeError, match="cannot be sent to a worker process, expected .*; or give workers=1 without a time_limit"
    ):
        GridSearch(build, grid, store=None, **wrong)


def test_a_daemonic_process_is_told_that_it_may_not_start_workers(monkeypatch):
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    search = GridSearch(build_scored, [{"loss": 1.0}], store=None, workers=2)
    with pytest.raises(
        SearchError, match="is daemonic and may not start worker processes; give workers=1 without a time_limit"
    ):
        search.run(*data(), progress=False)
    assert len(GridSearch(build_scored, [{"loss": 1.0}], store=None, workers=1).run(*data(), progress=False)) == 1
