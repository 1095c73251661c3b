"""Fingerprints that are in stores: their digests must not change, or stores of earlier versions are refused."""

import numpy as np

from search.store.fingerprint import fingerprint
from search.testing import build_polynomial
from search.trials.folds import KFold, make_layout


def test_the_fingerprint_in_a_store_is_that_of_earlier_versions():
    x = np.arange(20.0).reshape(10, 2)
    layout = make_layout(KFold(3, shuffle=True, seed=1), x, x, outer=KFold(2))
    found = fingerprint(x, x[:, :1], [{"lr": 0.1}], layout, 0, build_polynomial)
    assert found["data"].endswith(" sha256:e570916433ba845ee83882f2b7ae71a1e1aded81578e6a505b095ffebb123a38")
    assert found["folds"].split(" sha256:")[1:] == [
        "bb0684b7c32d923013eb52f9f816ee769517ede9eb38c98099e93fc07b10ea78",
        "943c77e74ee706ab551c9d699147bbb0253522453c08b6cc508ddd05c936e89d",
    ]
