"""No two purposes draw from one stream of random numbers."""

import hashlib

import numpy as np
import pytest

import tinygrad_lab as tl
from search.space.random import RandomSampler
from search.trials.seeds import fit_seed
from tinygrad_lab.seeds import CHECK, NOISE, ORDER, stream

SEEDS = [*range(4), 2**32, 2**64, 2**127]


def first_numbers(seed):
    return np.random.default_rng(seed).integers(2**63, size=4).tobytes()


def test_the_order_of_an_epoch_is_not_drawn_from_the_numbers_of_the_initial_weights():
    x = np.arange(50.0)
    for seed in range(3):
        net = tl.Linear(1, 1, rng=np.random.default_rng(seed))
        run = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters()), seed=seed).prepare(x, x)
        for epoch in range(3):
            for taken in (seed, [seed], [seed, epoch], [seed, epoch, 0], np.random.SeedSequence(seed, spawn_key=(epoch,))):
                assert run.order(epoch).tolist() != np.random.default_rng(taken).permutation(50).tolist()


def test_all_purposes_and_places_have_streams_of_their_own():
    found = list(SEEDS)
    for seed in SEEDS:
        found += [stream(seed, CHECK), *np.random.SeedSequence(seed).spawn(4)]
        found += [stream(seed, purpose, epoch) for purpose in (ORDER, NOISE) for epoch in (0, 1, 2, 2**32, 2**32 + 1)]
        found += [stream(seed, NOISE, epoch, draw) for epoch in range(3) for draw in range(3)]
        found += [fit_seed(seed, {"lr": lr}, fold) for lr in (0.1, 0.2) for fold in (0, 1, "retrain")]
    assert len(set(map(first_numbers, found))) == len(found)


def test_digits_do_not_move_from_one_part_of_a_key_to_the_next():
    keys = [(1, 23), (12, 3), (123,), (1, 2, 3), (1, "2 3"), (0, 1, 23), (1, 23, 0)]
    assert len({stream(*key).entropy for key in keys}) == len(keys)
    with pytest.raises(ValueError, match=r"stream: the key has the part '1\\n2', expected no line break"):
        stream(0, "1\n2")


def test_the_seeds_of_fits_and_draws_are_those_of_stored_searches():
    assert fit_seed(3, {"lr": 0.1}, 2).entropy == int.from_bytes(hashlib.sha256(b'3\n{"lr":0.1}\n2').digest())
    drawn = RandomSampler(1, {"n": list(range(1000))}).candidates(seed=5)[0]["n"]
    entropy = int.from_bytes(hashlib.sha256(b"5\nall axes").digest())
    assert drawn == np.random.default_rng(entropy).choice(1000, 1, replace=False)[0]
