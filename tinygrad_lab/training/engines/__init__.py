"""Engines: what runs the training step, update after update, with the same results.

    eager     training_step builds its graph at every update       learning, debugging, control flow that depends on data
    replay    training_step is captured once for each shape of     everywhere; needs NumPy only
              batch; its program is replayed in preallocated memory
    compiled  the same program as loops, compiled by Numba;        long trainings on small batches
              all updates of many epochs are one native call

The first two agree to the bit in double precision, the third to rounding.
"""
