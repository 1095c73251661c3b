"""The table of primitive operations: each one's forward, shape rule and vector-Jacobian products in one place.

    inputs ---- run ----> y            shapes ---- shape ----> shape of y
    x̄     <---- vjp ----- ȳ = g        loop: the same scalar expression, for generated code

Here x̄ means dL/dx for any scalar L that is computed from y, and g means ȳ. A vector-Jacobian product (VJP) computes x̄ from g.

*Where do second derivatives come from?* A VJP is written with operators and with the ops of this table. With arrays, they
compute numbers. With Tensors, an op leaves the call to the Tensor (`Op.__call__`), so the VJP builds a graph that can be
differentiated again. For example, the VJP of `exp` is `g * y`; with Tensors, this is a product that is linked to g and y.

Three rules let one recording of a program serve many lanes and become loops:

- Operands are positional arguments, and metadata are keyword arguments. Operands of an elementwise op have EQUAL shapes;
  `broadcast_to` is a separate op.
- Axes count from the right, so a new axis on the left changes nothing.
- No Python branch depends on data. Where a derivative is a choice, `where` selects. It never multiplies by a mask, because
  0 * inf is nan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import inf, nan, pi, prod
from typing import Any

import numpy as np

Shape = tuple[int, ...]
VJP = Callable[..., Any]
Interval = tuple[float, float]

OP_TABLE: dict[str, Op] = {}


@dataclass(frozen=True)
class Reduction:
    """How a loop combines many elements into one.

    Attributes
    ----------
    start : float
        The value before the first element.
    update : str
        The statement that takes in one more element, ``{1}``, to the value so far, ``{0}``.

    Examples
    --------
    >>> reduce_max.reduction
    Reduction(start=-inf, update='{0} = max({0}, {1})')
    """

    start: float
    update: str


@dataclass(frozen=True, slots=True, eq=False)
class Op:
    """The description of one primitive operation.

    Attributes
    ----------
    name : str
    run : callable
        ``run(*arrays, out=None, **params)`` returns an array or NumPy scalar. With `out`, it writes there; a view has no `out`.
    shape : callable
        ``shape(*shapes, **params)`` returns the shape of the result, or raises ValueError or IndexError.
    vjps : sequence of callable or None, or callable
        One ``vjp(g, y, *inputs, **params)`` for each input. It is None, or missing, for an input in which the op is constant.
        An op of any number of inputs has a function ``position -> vjp`` instead.
    loop : str or None
        One scalar of the result as an expression of the inputs' scalars ``{0}``, ``{1}``, ``{2}``; only for an elementwise op.
    view : bool
        Whether the result shares the memory of the input, if NumPy can do that.
    values : slice
        The operands that are values, all of one dtype. Other operands are conditions or index arrays.
    reduction : Reduction or None
        How a loop computes the result; only for an op that reduces its operand over the parameter ``axes``.
    analytic : bool
        Whether `run` continues the op to complex numbers as an analytic function. Gradient checks then take a complex
        step, which is more exact than a difference.
    smooth : sequence of (low, high)
        One interval for each operand, on which the op is smooth; (-2, 2) for an operand without one. Tests draw operands
        from these, and keep away from 0 and from ties. The bounds are multiples of 1/8.

    Examples
    --------
    >>> exp(np.array([0.0, 1.0]))
    array([1.        , 2.71828183])
    >>> exp.shape((3, 2))
    (3, 2)
    >>> exp.vjp(0)(np.array([3.0]), np.array([1.0]), np.array([0.0]))       # g = 3, y = exp(x), x = 0
    array([3.])
    """

    name: str
    run: Callable[..., Any]
    shape: Callable[..., Shape]
    vjps: Sequence[VJP | None] | Callable[[int], VJP] = ()
    loop: str | None = None
    view: bool = False
    values: slice = field(default_factory=lambda: slice(None))
    reduction: Reduction | None = None
    analytic: bool = True
    smooth: Sequence[Interval] = ()

    def __post_init__(self) -> None:
        OP_TABLE[self.name] = self

    def __call__(self, *operands: Any, **params: Any) -> Any:
        """Run on arrays, or let an operand that has a method ``__op__``, as a Tensor has, run the op."""
        for operand in operands:
            if hasattr(operand, "__op__"):
                return operand.__op__(self, operands, params)
        return self.run(*operands, **params)

    def vjp(self, position: int) -> VJP | None:
        """Return the VJP for the input at `position`, or None if the op is constant in it."""
        if callable(self.vjps):
            return self.vjps(position)
        return self.vjps[position] if position < len(self.vjps) else None

    @property
    def elementwise(self) -> bool:
        """Whether each scalar of the result depends on one scalar of each input."""
        return self.loop is not None

    @property
    def differentiable(self) -> bool:
        """Whether the result depends smoothly on some input."""
        return bool(self.vjps)

    def __repr__(self) -> str:
        return f"<op {self.name}>"


@cache
def _special(name: str) -> Any:
    """Return a ufunc of SciPy. SciPy is imported at the first use, since that takes longer than all other imports together."""
    from scipy import special

    return getattr(special, name)


# Elementwise ---------------------------------------------------------------------------------------------------------


def equal_shapes(*shapes: Shape) -> Shape:
    """Return the shape that all `shapes` have in common: the shape rule of every elementwise op.

    Raises
    ------
    ValueError
        If two shapes differ.
    """
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"operands of a primitive have equal shapes, got {' and '.join(map(str, shapes))}")
    return shapes[0]


def _elementwise(
    name: str, run: Callable[..., Any], loop: str, *vjps: VJP | None, analytic: bool = True, smooth: Sequence[Interval] = ()
) -> Op:
    return Op(name, run, equal_shapes, vjps, loop, analytic=analytic, smooth=smooth)


def _select(condition: Any, a: Any, b: Any, out: Any = None) -> Any:
    if out is None:
        return np.where(condition, a, b)
    np.copyto(out, b)
    np.copyto(out, a, where=np.asarray(condition, dtype=bool))
    return out


# y = a where the condition holds, else b      ā = g where the condition holds, else 0;  b̄ = 0 there, else g
where: Op = Op(
    "where", _select, equal_shapes,
    (None, lambda g, y, c, a, b: where(c, g, 0.0), lambda g, y, c, a, b: where(c, 0.0, g)),
    "({1} if {0} else {2})", values=slice(1, None),
)  # fmt: skip

# Comparisons have boolean results, which are constant between jumps: no VJP.
less: Op = _elementwise("less", np.less, "({0} < {1})")
less_equal: Op = _elementwise("less_equal", np.less_equal, "({0} <= {1})")
greater: Op = _elementwise("greater", np.greater, "({0} > {1})")
greater_equal: Op = _elementwise("greater_equal", np.greater_equal, "({0} >= {1})")
equal: Op = _elementwise("equal", np.equal, "({0} == {1})")
not_equal: Op = _elementwise("not_equal", np.not_equal, "({0} != {1})")

logical_and: Op = _elementwise("logical_and", np.logical_and, "({0} and {1})")
logical_or: Op = _elementwise("logical_or", np.logical_or, "({0} or {1})")
logical_not: Op = _elementwise("logical_not", np.logical_not, "(not {0})")

# y = a + b        ā = g,  b̄ = g
add: Op = _elementwise("add", np.add, "({0} + {1})", lambda g, y, a, b: g, lambda g, y, a, b: g)

# y = a - b        ā = g,  b̄ = -g
subtract: Op = _elementwise("subtract", np.subtract, "({0} - {1})", lambda g, y, a, b: g, lambda g, y, a, b: -g)

# y = a b          ā = g b,  b̄ = g a
multiply: Op = _elementwise("multiply", np.multiply, "({0} * {1})", lambda g, y, a, b: g * b, lambda g, y, a, b: g * a)

# y = a / b        ā = g / b,  b̄ = -g y / b
divide: Op = _elementwise(
    "divide", np.divide, "({0} / {1})",
    lambda g, y, a, b: g / b,
    lambda g, y, a, b: -g * y / b,
    smooth=((-2.0, 2.0), (0.5, 2.0)),
)  # fmt: skip


# y = a^b          ā = g a^(b-1) b, and 0 at a = b = 0;  b̄ = g y log a, and 0 where y = 0 or a = b = 0
# The factor b comes last. With g b first, the product b (b - 1) of the second derivative may overflow.
def _power_base(g: Any, y: Any, a: Any, b: Any) -> Any:
    singular = where(equal(b, 0.0), equal(a, 0.0), False)
    return g * power(where(singular, 1.0, a), b - 1.0) * b


def _power_exponent(g: Any, y: Any, a: Any, b: Any) -> Any:
    singular = logical_or(equal(y, 0.0), logical_and(equal(a, 0.0), equal(b, 0.0)))
    return g * y * log(where(singular, 1.0, a))


power: Op = _elementwise("power", np.power, "({0} ** {1})", _power_base, _power_exponent, smooth=((0.25, 2.0), (-2.0, 2.0)))


# y = max(a, b)    ā = g where a > b, g/2 where a = b, 0 where a < b, and nan where y is nan;  b̄ likewise
def _share_of_greater(g: Any, a: Any, b: Any) -> Any:
    return where(greater(a, b), g, where(less(a, b), 0.0, where(equal(a, b), 0.5 * g, nan)))


maximum: Op = _elementwise(
    "maximum", np.maximum, "max({0}, {1})",
    lambda g, y, a, b: _share_of_greater(g, a, b),
    lambda g, y, a, b: _share_of_greater(g, b, a),
)  # fmt: skip
minimum: Op = _elementwise(
    "minimum", np.minimum, "min({0}, {1})",
    lambda g, y, a, b: _share_of_greater(g, b, a),
    lambda g, y, a, b: _share_of_greater(g, a, b),
)  # fmt: skip

# y = -x           x̄ = -g
negative: Op = _elementwise("negative", np.negative, "(-{0})", lambda g, y, x: -g)

# y = sign x       constant between its jumps; sign 0 = 0
sign: Op = _elementwise("sign", np.sign, "sign({0})", analytic=False)

# y = |x|          x̄ = g sign x, so 0 at 0
absolute: Op = _elementwise("abs", np.absolute, "abs({0})", lambda g, y, x: g * sign(x), analytic=False)

# y = √x           x̄ = g / 2y
sqrt: Op = _elementwise("sqrt", np.sqrt, "sqrt({0})", lambda g, y, x: g / (2.0 * y), smooth=((0.25, 2.0),))

# y = eˣ           x̄ = g y
exp: Op = _elementwise("exp", np.exp, "exp({0})", lambda g, y, x: g * y)

# y = eˣ - 1       x̄ = g eˣ, not g (y + 1), which loses digits if eˣ is small
expm1: Op = _elementwise("expm1", np.expm1, "expm1({0})", lambda g, y, x: g * exp(x))

# y = log x        x̄ = g / x
log: Op = _elementwise("log", np.log, "log({0})", lambda g, y, x: g / x, smooth=((0.25, 2.0),))

# y = log(1 + x)   x̄ = g / (1 + x)
log1p: Op = _elementwise("log1p", np.log1p, "log1p({0})", lambda g, y, x: g / (x + 1.0), smooth=((-0.5, 2.0),))

# y = sin x        x̄ = g cos x
sin: Op = _elementwise("sin", np.sin, "sin({0})", lambda g, y, x: g * cos(x))

# y = cos x        x̄ = -g sin x
cos: Op = _elementwise("cos", np.cos, "cos({0})", lambda g, y, x: -g * sin(x))

# y = tanh x       x̄ = g sech² x; 1 - y² is the same, but has no digits left where y is near 1
tanh: Op = _elementwise("tanh", np.tanh, "tanh({0})", lambda g, y, x: g * sech_squared(x))


# y = sech² x      x̄ = -2 g y tanh x; with s = e^-|x|, sech x is 2s/(1 + s²), which never overflows
def _sech_squared(x: Any, out: Any = None) -> Any:
    s = np.exp(np.copysign(x, -1.0))
    return np.square(2.0 * s / (1.0 + s * s), out=out)


sech_squared: Op = _elementwise(
    "sech_squared", _sech_squared, "sech_squared({0})", lambda g, y, x: g * (-2.0 * y * tanh(x)), analytic=False
)

# y = 1/(1 + e⁻ˣ)  x̄ = g sech²(x/2) / 4; y (1 - y) is the same, but its derivative cancels near 0
sigmoid: Op = _elementwise(
    "sigmoid", lambda x, out=None: _special("expit")(x, out=out), "sigmoid({0})",
    lambda g, y, x: g * (0.25 * sech_squared(0.5 * x)), analytic=False,
)  # fmt: skip

# y = log(1 + eˣ)  x̄ = g sigmoid x
softplus: Op = _elementwise(
    "softplus", lambda x, out=None: np.logaddexp(0.0, x, out=out), "softplus({0})",
    lambda g, y, x: g * sigmoid(x), analytic=False,
)  # fmt: skip

# y = erf x        x̄ = g 2/√π e^(-x²)
erf: Op = _elementwise(
    "erf", lambda x, out=None: _special("erf")(x, out=out), "erf({0})",
    lambda g, y, x: g * (2.0 / pi**0.5) * exp(-x * x),
)  # fmt: skip


# y = x            differentiation treats y as a constant: no VJP
detach: Op = Op("detach", lambda x: x, equal_shapes, (), "{0}", view=True)


# Change of dtype -----------------------------------------------------------------------------------------------------


def _astype(x: Any, *, dtype: np.dtype, out: Any = None) -> Any:
    if out is None:
        return x.astype(dtype)
    np.copyto(out, x, casting="unsafe")
    return out


# y = x in another precision      x̄ = g in the precision of x
astype: Op = Op(
    "astype", _astype, lambda shape, **_: shape,
    (lambda g, y, x, dtype: astype(g, dtype=x.dtype),), analytic=False,
)  # fmt: skip


# Reductions, and broadcasting, the adjoint of the sum ----------------------------------------------------------------


def _reduced(shape: Shape, *, axes: tuple[int, ...]) -> Shape:
    return tuple(1 if i - len(shape) in axes else n for i, n in enumerate(shape))


def _reduce(ufunc: np.ufunc) -> Callable[..., Any]:
    return lambda x, *, axes, out=None: ufunc.reduce(x, axis=axes, out=out, keepdims=True)


SUM = Reduction(0.0, "{0} += {1}")

# y = Σ x over axes, which keep length 1           x̄ = g repeated along them
reduce_sum: Op = Op(
    "reduce_sum", _reduce(np.add), _reduced,
    (lambda g, y, x, axes: broadcast_to(g, shape=x.shape),), reduction=SUM,
)  # fmt: skip


# y = max x or min x over axes                     x̄ = g, shared evenly by the elements equal to y; nan if y is nan
def _extremum_vjp(g: Any, y: Any, x: Any, axes: tuple[int, ...]) -> Any:
    attains = equal(x, broadcast_to(y, shape=x.shape))
    count = reduce_sum(astype(attains, dtype=g.dtype), axes=axes)  # 0 if y is nan
    return where(attains, broadcast_to(g / count, shape=x.shape), broadcast_to(0.0 / count, shape=x.shape))


reduce_max: Op = Op(
    "reduce_max", _reduce(np.maximum), _reduced, (_extremum_vjp,), reduction=Reduction(-inf, "{0} = max({0}, {1})")
)
reduce_min: Op = Op(
    "reduce_min", _reduce(np.minimum), _reduced, (_extremum_vjp,), reduction=Reduction(inf, "{0} = min({0}, {1})")
)


# y = √Σ x² over the last `ndims` axes of all operands      x̄ = g x / y, and 0 at y = 0
HUGE_SQUARES = 2.0**998
"""The sum of squares from which the elements are scaled, so that no square overflows."""
SCALE = 2.0**-530
"""The factor for that: a power of two, which changes no digit, and whose square is still a number."""


def _sum_of_squares(arrays: Sequence[Any], ndims: Sequence[int]) -> Any:
    sums = [np.add.reduce(np.square(x), axis=tuple(range(-ndim, 0))) for x, ndim in zip(arrays, ndims, strict=True)]
    return sum(sums[1:], sums[0])


def _norm(*arrays: Any, ndims: tuple[int, ...], out: Any = None) -> Any:
    if arrays[0].dtype == np.float32:  # whose squares are finite in double precision
        double = _norm(*[x.astype(np.float64) for x in arrays], ndims=ndims)
        return _astype(double, dtype=np.dtype(np.float32), out=out)
    squares = _sum_of_squares(arrays, ndims)
    norm = np.sqrt(squares)
    if not (squares < HUGE_SQUARES).all():
        scaled = np.sqrt(_sum_of_squares([x * SCALE for x in arrays], ndims)) / SCALE
        norm = np.where(squares < HUGE_SQUARES, norm, scaled)
    if out is None:
        return norm
    out[...] = norm
    return out


def _norm_shape(*shapes: Shape, ndims: tuple[int, ...]) -> Shape:
    return equal_shapes(*[shape[: len(shape) - ndim] for shape, ndim in zip(shapes, ndims, strict=True)])


def _norm_vjp(position: int) -> VJP:
    def vjp(g: Any, y: Any, *inputs: Any, ndims: tuple[int, ...]) -> Any:
        x = inputs[position]
        zero = equal(y, 0.0)
        unit = where(zero, 0.0, g), where(zero, 1.0, y)
        top, bottom = (broadcast_to(reshape(v, shape=(*y.shape, *[1] * ndims[position])), shape=x.shape) for v in unit)
        return x / bottom * top

    return vjp


norm: Op = Op("norm", _norm, _norm_shape, _norm_vjp)


def _stretched(old: Shape, *, shape: Shape) -> Shape:
    lead = len(shape) - len(old)
    if lead < 0 or any(n not in (1, m) for n, m in zip(old, shape[lead:], strict=True)):
        raise ValueError(f"broadcast_to: shape {old} does not broadcast to {shape}")
    return shape


# y = x repeated along axes of length 1 and new axes on the left      x̄ = Σ g over these axes
def _broadcast_vjp(g: Any, y: Any, x: Any, shape: Shape) -> Any:
    lead = len(shape) - x.ndim
    repeated = [i for i, n in enumerate(shape) if i < lead or (n != 1 and x.shape[i - lead] == 1)]
    return reshape(reduce_sum(g, axes=tuple(i - len(shape) for i in repeated)), shape=x.shape)


def _broadcast(x: Any, *, shape: Shape) -> Any:
    # numpy.broadcast_to does the same for every x. The two usual cases take a faster way to the same view.
    if x.ndim == 0:
        return np.ndarray(shape, x.dtype, x, strides=(0,) * len(shape))
    return x.reshape(shape) if x.size == prod(shape) else np.broadcast_to(x, shape)


broadcast_to: Op = Op("broadcast_to", _broadcast, _stretched, (_broadcast_vjp,), view=True)


# Movement ------------------------------------------------------------------------------------------------------------


def _reshaped(old: Shape, *, shape: Shape) -> Shape:
    if prod(old) != prod(shape):
        raise ValueError(f"reshape: shape {old} has {prod(old)} elements, which do not fill {shape}")
    return shape


# y = x in another shape       x̄ = g in the shape of x
reshape: Op = Op(
    "reshape", lambda x, *, shape: x.reshape(shape), _reshaped,
    (lambda g, y, x, shape: reshape(g, shape=x.shape),), view=True,
)  # fmt: skip


# y = x with its last len(axes) axes permuted       x̄ = g with the permutation undone
def _transpose(x: Any, *, axes: tuple[int, ...]) -> Any:
    return x.transpose(*range(x.ndim - len(axes)), *axes)


def _transposed(shape: Shape, *, axes: tuple[int, ...]) -> Shape:
    return shape[: len(shape) - len(axes)] + tuple(shape[axis] for axis in axes)


def _inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(axes.index(axis) - len(axes) for axis in range(-len(axes), 0))


transpose: Op = Op(
    "transpose", _transpose, _transposed,
    (lambda g, y, x, axes: transpose(g, axes=_inverse(axes)),), view=True,
)  # fmt: skip


def _concatenated(*shapes: Shape, axis: int) -> Shape:
    rests = {shape[:axis] + shape[len(shape) + axis + 1 :] for shape in shapes}
    if len(rests) > 1:
        raise ValueError(f"concatenate: shapes {', '.join(map(str, shapes))} differ beside axis {axis}")
    joined = list(shapes[0])
    joined[axis] = sum(shape[axis] for shape in shapes)
    return tuple(joined)


# y = [a b c ...] along axis       each input gets its piece of g
def _concatenate_vjp(position: int) -> VJP:
    def vjp(g: Any, y: Any, *inputs: Any, axis: int) -> Any:
        start = sum(x.shape[axis] for x in inputs[:position])
        piece = slice(start, start + inputs[position].shape[axis])
        return getitem(g, index=(..., piece, *[slice(None)] * (-axis - 1)))

    return vjp


concatenate: Op = Op(
    "concatenate", lambda *arrays, axis, out=None: np.concatenate(arrays, axis, out), _concatenated, _concatenate_vjp
)


# Indexing and its adjoint --------------------------------------------------------------------------------------------
#
# `index` is the content of the brackets. It has ARRAY in the place of each index array, since index arrays are operands.

ARRAY = "array"


def _complete(index: tuple[Any, ...], arrays: Sequence[Any]) -> tuple[Any, ...]:
    remaining = iter(arrays)
    return tuple(next(remaining) if item is ARRAY else item for item in index)


def _getitem(x: Any, *arrays: Any, index: tuple[Any, ...], out: Any = None) -> Any:
    if out is None:
        return x[_complete(index, arrays)]
    out[...] = x[_complete(index, arrays)]
    return out


def _indexed(shape: Shape, *index_shapes: Shape, index: tuple[Any, ...]) -> Shape:
    # NumPy applies its rules to an array that occupies a single element of memory.
    return _getitem(np.broadcast_to(0.0, shape), *[np.zeros(s, int) for s in index_shapes], index=index).shape


def _getitem_vjp(g: Any, y: Any, x: Any, *arrays: Any, index: tuple[Any, ...]) -> Any:
    return scatter_add(g, *arrays, index=index, shape=x.shape)


# y = x[index]      x̄ = zeros with g added at index; an element that was taken twice gets both of its gradients
getitem: Op = Op("getitem", _getitem, _indexed, (_getitem_vjp,), view=True)  # slices and integers
gather: Op = Op("gather", _getitem, _indexed, (_getitem_vjp,), values=slice(1))  # with index arrays


def _scatter_add(g: Any, *arrays: Any, index: tuple[Any, ...], shape: Shape, out: Any = None) -> Any:
    if out is None:
        out = np.zeros(shape, g.dtype)
    else:
        out.fill(0)
    if arrays:
        np.add.at(out, _complete(index, arrays), g)
    else:
        out[index] = g
    return out


# y = zeros with x added at index        x̄ = g[index]
scatter_add: Op = Op(
    "scatter_add", _scatter_add, lambda *_, shape, index: shape,
    (lambda g, y, x, *arrays, index, shape: (gather if arrays else getitem)(g, *arrays, index=index),),
    values=slice(1),
)  # fmt: skip


# Contractions --------------------------------------------------------------------------------------------------------


def _multiplied(a: Shape, b: Shape) -> Shape:
    if len(a) < 2 or a[:-2] != b[:-2] or a[-1] != b[-2]:
        raise ValueError(f"matmul takes (..., n, k) and (..., k, m) with equal leading axes, got {a} and {b}")
    return (*a[:-1], b[-1])


def _matmul(a: Any, b: Any, out: Any = None) -> Any:
    # numpy.matmul gives the same product of a column and a row, but more slowly.
    return np.multiply(a, b, out=out) if a.shape[-1] == 1 else np.matmul(a, b, out=out)


# y = a b, matrices in the last two axes       ā = g bᵀ,  b̄ = aᵀ g
matmul: Op = Op(
    "matmul", _matmul, _multiplied,
    (
        lambda g, y, a, b: matmul(g, transpose(b, axes=(-1, -2))),
        lambda g, y, a, b: matmul(transpose(a, axes=(-1, -2)), g),
    ),
)  # fmt: skip


def _contract(*arrays: Any, subscripts: str, out: Any = None) -> Any:
    return np.einsum(subscripts, *arrays, out=out, optimize=True)


def _contracted(*shapes: Shape, subscripts: str) -> Shape:
    terms, result = subscripts.split("->")
    lengths: dict[str, int] = {}
    for term, shape in zip(terms.split(","), shapes, strict=True):
        for letter, n in zip(term, shape, strict=True):
            if lengths.setdefault(letter, n) != n:
                raise ValueError(f"einsum {subscripts!r}: axis {letter!r} has lengths {lengths[letter]} and {n}")
    return tuple(lengths[letter] for letter in result)


# y = Σ a b c ... by subscripts. Each letter of a term is also in the result or in another term.
# x̄ = the same contraction with g in the place of x, and the letters of x as the result
def _einsum_vjp(position: int) -> VJP:
    def vjp(g: Any, y: Any, *inputs: Any, subscripts: str) -> Any:
        terms, result = subscripts.split("->")
        letters = terms.split(",")
        wanted, letters[position] = letters[position], result
        operands = (*inputs[:position], g, *inputs[position + 1 :])
        return einsum(*operands, subscripts=f"{','.join(letters)}->{wanted}")

    return vjp


einsum: Op = Op("einsum", _contract, _contracted, _einsum_vjp)
