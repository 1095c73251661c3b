"""Ways out of the graph, inside a function that is differentiated: each gives the right derivative or is refused.

A Tensor that requires a gradient must not become a number or an array there, since its gradient would be silently lost.
Outside of such functions it may: a loop by hand reads `float(loss)`.
"""

import array
import copy
import math
import operator
import pickle
import statistics
import threading

import numpy as np
import pytest

import tinygrad_lab as tl
from tinygrad_lab import Tensor
from tinygrad_lab.program import capture
from tinygrad_lab.program.program import Program

POINT = np.array([1.5, 2.5])


def filled(write):
    """Write into an array by a function, and make a Tensor of it."""

    def function(x):
        out = np.ones(2)
        write(out, x)
        return Tensor(out)

    return function


def in_place(out, x):
    out += x


REFUSED = {
    "out[0] =": filled(lambda out, x: operator.setitem(out, 0, x[0] * x[1])),
    "out[:] =": filled(lambda out, x: operator.setitem(out, slice(None), x)),
    "out.flat[:] =": filled(lambda out, x: operator.setitem(out.flat, slice(None), x)),
    "fill": filled(lambda out, x: out.fill(x[0])),
    "put": filled(lambda out, x: out.put([0, 1], x)),
    "copyto": filled(np.copyto),
    "putmask": filled(lambda out, x: np.putmask(out, [True, True], x)),
    "+=": filled(in_place),
    "out=": filled(lambda out, x: np.multiply(x, 2.0, out=out)),
    "add.at": filled(lambda out, x: np.add.at(out, [0, 1], x)),
    "float": lambda x: Tensor(float(x[0])),
    "int": lambda x: Tensor(float(int(x[0]))),
    "bool": lambda x: x if x.sum() else -x,
    "complex": lambda x: Tensor(complex(x[0]).real),
    "item": lambda x: Tensor(x[0].item()),
    "numpy": lambda x: Tensor(x.numpy()),
    "data": lambda x: Tensor(x.data),
    "a Tensor of it": lambda x: Tensor(x),
    "a Tensor of a list": lambda x: Tensor([x[0], x[1]]),
    "assign": lambda x: Tensor(np.ones(2)).assign(x),
    "copy": lambda x: copy.copy(x) * 2.0,
    "deepcopy": lambda x: copy.deepcopy([x])[0] * 2.0,
    "pickle": lambda x: pickle.loads(pickle.dumps(x)) * 2.0,
    "asarray": lambda x: Tensor(np.asarray(x)),
    "asarray of a number": lambda x: Tensor(np.asarray(x[0])),
    "array of objects": lambda x: Tensor(np.array([x[0]], dtype=object).astype(float)),
    "float64": lambda x: Tensor(np.float64(x[0])),
    "float32": lambda x: Tensor(np.float32(x[0])),
    "fromiter": lambda x: Tensor(np.fromiter(iter(x), float)),
    "initial=": lambda x: Tensor(np.ones(2).sum(initial=x[0])),
    "numpy.full": lambda x: Tensor(np.full(2, x[0])),
    "numpy.arange": lambda x: Tensor(np.arange(x[0], 3.0)),
    "vectorize": lambda x: Tensor(np.vectorize(lambda v: 2.0 * v)(list(x))),
    "random numbers": lambda x: Tensor(np.random.default_rng(0).normal(x[0])),
    "masked array": lambda x: np.ma.array([1.0, 2.0]) * x,
    "math.exp": lambda x: Tensor(math.exp(x[0])),
    "math.pow": lambda x: Tensor(math.pow(x[0], 2.0)),
    "math.fsum": lambda x: Tensor(math.fsum(x)),
    "statistics.mean": lambda x: statistics.mean(x),
    "statistics.fmean": lambda x: Tensor(statistics.fmean(x)),
    "array.array": lambda x: Tensor(array.array("d", x)),
    "range": lambda x: Tensor(float(len(range(x[0])))),
    "operator.index": lambda x: Tensor(float(operator.index(x[0]))),
    "memoryview": lambda x: Tensor(memoryview(x)),
    "backward": lambda x: ((x**2).sum().backward(), x.grad)[1],
}  # fmt: skip

RIGHT = {
    "sum": lambda x: sum(x**2),
    "max": lambda x: max(x) * x,
    "sorted": lambda x: tl.stack(sorted(x, reverse=True)),
    "abs and pow": lambda x: abs(pow(x, 3.0)),
    "math.prod": lambda x: math.prod(x),
    "a branch": lambda x: x * x if x[0] > 0.0 else -x,
    "a key of a dict": lambda x: {x: x * x}[x],
    "a generator": lambda x: sum(v * i for i, v in enumerate(x)),
    "numpy on the left": lambda x: np.float64(2.0) * x + np.ones((2, 2)) @ x,
    "a closure": lambda x: (lambda y: y * x)(x),
}


def differences(function):
    columns = []
    for step in np.eye(2) * 1e-6:
        columns.append((function(Tensor(POINT + step)).data - function(Tensor(POINT - step)).data) / 2e-6)
    return np.stack(columns, axis=-1)


# Each transform as a Jacobian, and a training step that uses the function as its model.
TRANSFORMS = {
    "jacobian": lambda f: tl.jacobian(f)(POINT),
    "vjp": lambda f: tl.vjp(f, POINT),
    "jvp": lambda f: tl.jvp(f, [POINT], [POINT]),
    "value_and_grad": lambda f: tl.value_and_grad(lambda x: f(x).sum())(POINT),
    "hessian": lambda f: tl.hessian(lambda x: f(x).sum())(POINT),
    "hvp": lambda f: tl.hvp(lambda x: f(x).sum(), POINT, POINT),
    "gnvp": lambda f: tl.gnvp(f, lambda y: (y * y).sum(), POINT, POINT),
    "elementwise_grad": lambda f: tl.elementwise_grad(f)(POINT),
    "a training step": lambda f: step_of(f),
}


class Model(tl.Layer):
    def __init__(self, function):
        self.w = Tensor(POINT, requires_grad=True)
        self.function = function

    def forward(self, x):
        return x * self.function(self.w).sum()


def step_of(function):
    model = Model(function)
    trainer = tl.Trainer(model, tl.MeanSquaredError(), optimizer=tl.SGD(model.parameters(), lr=0.1), epochs=1, engine="eager")
    return trainer.training_step(Tensor(np.ones((2, 1))), Tensor(np.ones((2, 1))))


@pytest.mark.parametrize("name", REFUSED)
def test_a_tensor_does_not_leave_the_graph_of_a_function_that_is_differentiated(name):
    for block, transform in TRANSFORMS.items():
        with pytest.raises(TypeError) as failure:
            transform(REFUSED[name])
        message = str(failure.value)
        assert "\n" not in message
        if "would lose" in message:
            assert message.startswith(f"{__file__}, line ")
            assert f"inside {block}" in message


@pytest.mark.parametrize("name", RIGHT)
def test_what_stays_in_the_graph_has_the_right_derivative(name):
    np.testing.assert_allclose(tl.jacobian(RIGHT[name])(POINT).data, differences(RIGHT[name]), rtol=1e-6, atol=1e-6)


def test_the_message_names_the_line_the_way_out_and_what_to_do():
    def function(x):
        return Tensor(math.exp(x[0]))

    with pytest.raises(TypeError) as failure:
        tl.jacobian(function)(POINT)
    assert str(failure.value) == (
        f"{__file__}, line {function.__code__.co_firstlineno + 1}: "
        "the number of a Tensor that requires a gradient would lose it inside jacobian; "
        "compute with Tensors, or call .detach() first if no gradient is meant"
    )


def test_what_is_detached_may_leave():
    def function(x):
        scale = float(x.detach().sum()) + x.detach().numpy()[0] + np.asarray(x.detach())[1]
        return x * scale

    np.testing.assert_allclose(tl.jacobian(function)(POINT).data, 8.0 * np.eye(2))


def test_a_tensor_can_be_printed_anywhere():
    def function(x):
        assert f"{x[0]:.1f}" == "1.5"
        assert repr(x).startswith("Tensor(")
        return x * 2.0

    assert tl.jacobian(function)(POINT).data.tolist() == [[2.0, 0.0], [0.0, 2.0]]


def test_numbers_may_be_read_in_a_loop_by_hand():
    w = Tensor(2.0, requires_grad=True)
    loss = w * w
    loss.backward()
    assert float(loss) == loss.item() == math.sqrt(loss) ** 2 == 4.0
    assert tl.jacobian(lambda x: x * 2.0)(POINT).requires_grad is False
    assert float(loss) == 4.0  # also after a transform
    with pytest.raises(TypeError):
        tl.jacobian(lambda x: float(x[0]))(POINT)
    assert float(loss) == 4.0  # and after one that failed


ARRAYS = {
    "array([t, t])": lambda t: np.array([t, t]),
    "array([t, t], float)": lambda t: np.array([t, t], dtype=float),
    "array([t])": lambda t: np.array([t]),
    "asarray": np.asarray,
    "array": np.array,
    "stack": lambda t: np.stack([t, t]),
    "Tensor": lambda t: Tensor([t, t]).data,
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_tensors_never_lose_a_gradient_silently(name):
    """Without a gradient they hold the numbers. With one they keep the graph or are refused, also outside of transforms."""
    for numbers in (2.0, [2.0, 3.0]):
        result = ARRAYS[name](Tensor(numbers))
        np.testing.assert_array_equal(getattr(result, "data", result), ARRAYS[name](np.array(numbers)))
        try:
            kept = ARRAYS[name](Tensor(numbers, requires_grad=True))
        except TypeError:
            continue
        assert isinstance(kept, Tensor)
        assert kept.requires_grad


def test_another_thread_is_not_inside_the_block():
    numbers = []

    def function(x):
        thread = threading.Thread(target=lambda: numbers.append(float(Tensor(3.0, requires_grad=True))))
        thread.start()
        thread.join()
        return x * 2.0

    tl.jacobian(function)(POINT)
    assert numbers == [3.0]


def test_a_capture_still_says_that_a_number_would_be_frozen():
    x = Tensor(POINT)
    with pytest.raises(tl.CaptureError, match="the number of a Tensor that changes between replays"):
        capture(lambda: ({"y": tl.value_and_grad(lambda t: t.sum() * float(t[0]))(x)[0]}, {}), {"x": x}, {})
    with pytest.raises(tl.CaptureError, match="the number of a Tensor that changes between replays"):
        capture(lambda: ({"y": tl.value_and_grad(lambda t: REFUSED["out[0] ="](t).sum())(x)[0]}, {}), {"x": x}, {})
    assert isinstance(capture(lambda: ({"y": tl.value_and_grad(lambda t: (t * t).sum())(x)[1][0]}, {}), {"x": x}, {}), Program)
