"""A Configuration: a dict that cannot be changed, so it can store its text and its digest."""

import copy
import json
import pickle

import numpy as np
import pytest

from search import ParameterGrid, Search, canonical_text
from search.space import configuration as module
from search.space import rounds
from search.space.configuration import Configuration
from search.space.rounds import KeptConfigurations, Round, keep
from tests.helpers.searches import build_polynomial, data

GIVEN = {"lr": np.float64(0.1), "hidden": [75, 50]}


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.__setitem__("lr", 1.0),
        lambda x: x.__delitem__("lr"),
        lambda x: x.__ior__({"lr": 1.0}),
        lambda x: x.update(lr=1.0),
        lambda x: x.setdefault("epochs", 3),
        lambda x: x.pop("lr"),
        lambda x: x.popitem(),
        lambda x: x.clear(),
    ],
)
def test_it_cannot_be_changed(change):
    configuration = Configuration(GIVEN)
    with pytest.raises(TypeError, match=r"cannot be changed, expected a copy: dict\(configuration\)"):
        change(configuration)
    assert configuration == {"lr": 0.1, "hidden": (75, 50)}


def test_it_reads_as_a_dict():
    configuration = Configuration(GIVEN)
    assert repr(configuration) == "{'lr': 0.1, 'hidden': (75, 50)}"
    assert json.loads(json.dumps(configuration)) == {"lr": 0.1, "hidden": [75, 50]}
    changed = configuration | {"lr": 0.2}
    assert type(changed) is type(configuration.copy()) is dict
    assert changed == {"lr": 0.2, "hidden": (75, 50)}


def test_equal_content_is_equal_and_has_one_hash():
    one, other = Configuration(GIVEN), Configuration({"hidden": (75, 50), "lr": 0.1})
    assert one == other == dict(one)
    assert len({one, other, Configuration({"lr": 0.1})}) == 2


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_is_equal(copied):
    configuration = Configuration(GIVEN)
    assert configuration.text
    found = copied(configuration)
    assert (found, type(found), found.digest) == (configuration, Configuration, configuration.digest)


def test_it_is_sent_to_workers_without_its_text():
    configuration = Configuration(GIVEN)
    size = len(pickle.dumps(configuration))
    assert configuration.digest
    assert len(pickle.dumps(configuration)) == size


class PlainDicts:
    """A user's strategy, which yields plain dicts."""

    def rounds(self, seed):
        yield Round([{"degree": np.int64(degree), "epochs": 5} for degree in (1, 2)])

    def candidates(self, seed):
        return ()

    def describe(self):
        return "plain dicts"


def test_a_strategy_may_yield_plain_dicts():
    result = Search(build_polynomial, PlainDicts(), store=None, workers=1).run(*data(), progress=False)
    assert {canonical_text(row.configuration) for row in result} == {'{"degree":1,"epochs":5}', '{"degree":2,"epochs":5}'}
    assert {type(row.configuration) for row in result} == {Configuration}


def test_a_search_computes_the_text_of_a_configuration_once(monkeypatch):
    computed = []
    dumps = json.dumps
    monkeypatch.setattr(module.json, "dumps", lambda given, **options: computed.append(given) or dumps(given, **options))
    Search(build_polynomial, PlainDicts(), store=None, workers=1, repeats=2).run(*data(), progress=False)
    assert len([given for given in computed if isinstance(given, Configuration)]) == 2


def test_configurations_that_are_kept_are_made_once():
    kept = KeptConfigurations([{"lr": 0.1}, {"lr": 0.2}])
    assert len(kept) == 2
    assert [x is y for x, y in zip(kept, kept, strict=True)] == [True, True]
    assert kept[1] is list(kept)[1]
    assert keep(kept) is kept


def test_only_so_many_configurations_are_kept(monkeypatch):
    monkeypatch.setattr(rounds, "MOST_KEPT", 2)
    kept = KeptConfigurations(ParameterGrid(lr=[0.1, 0.2, 0.3]))
    assert list(kept) == [{"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3}]
    assert [x is y for x, y in zip(kept, kept, strict=True)] == [True, True, False]
