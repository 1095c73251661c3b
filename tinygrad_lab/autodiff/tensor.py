"""The Tensor: an array that remembers what it was computed from, and `apply`, the only place where an op runs.

    operators, methods, NumPy's functions --> align operands --> apply(op, *tensors) --> Tensor, linked to its inputs

Aligning makes the operands Tensors of one dtype and one shape. It runs the ops `astype` and `broadcast_to`, whose VJPs bring
each gradient back to the dtype and shape of its operand. So no other op needs a rule for that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, final

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from tinygrad_lab.autodiff import ops
from tinygrad_lab.autodiff.graph import Link, NoGraphError, ancestors, linking, pull_back
from tinygrad_lab.autodiff.methods import TensorMethods
from tinygrad_lab.autodiff.ops import Op
from tinygrad_lab.autodiff.recording import current, users_line


@final
class Tensor(TensorMethods):
    """An immutable array with reverse-mode differentiation.

    A Tensor that requires a gradient loses its graph when it becomes a number or an array: by `float`, `.item()`, `.numpy()`,
    `.data`, a copy, or a NumPy function that calls these. In a loop by hand, that is how a loss is read. Inside a function that
    is being differentiated, such as the `forward` of a model in training, it is refused. `.detach()` says that no gradient is
    meant. Comparisons have no gradient, so ``if x > 0`` works everywhere.

    Parameters
    ----------
    data : array_like
        Numbers or booleans, which are copied. Python floats become float64; arrays keep their dtype.
    requires_grad : bool
        Whether gradients with respect to this tensor can be computed.
    dtype : {float64, float32} or integer dtype, optional
        The dtype to convert to.

    Attributes
    ----------
    data : ndarray
        The elements, read-only. `assign` gives a leaf new ones.
    grad : Tensor or None
        The sum of the gradients that `backward` has added; leaves only.

    Raises
    ------
    TypeError
        If `data` holds complex numbers, strings or objects, or if integers require a gradient.
    ValueError
        If `data` is ragged.

    Examples
    --------
    >>> w = Tensor([1.0, 2.0], requires_grad=True)
    >>> loss = (w * w).sum()
    >>> loss.backward()
    >>> w.grad
    Tensor([2., 4.])
    """

    # numpy.ma would take an attribute named `_data` of any operand for its elements, past `__array__`.
    __slots__ = ("__weakref__", "_array", "_is_frozen", "_link", "_requires_grad", "grad")

    _array: np.ndarray
    _is_frozen: bool
    _link: Link | None
    _requires_grad: bool
    grad: Tensor | None

    def __init__(self, data: ArrayLike | Tensor, requires_grad: bool = False, dtype: DTypeLike | None = None) -> None:
        self._array = _own_array(data, dtype)
        self._link = None
        self.grad = None
        self._is_frozen = False
        self._requires_grad = False
        self.requires_grad = requires_grad
        if current.recording is not None and isinstance(data, Tensor):  # a replay copies again
            source = data if data.dtype == self.dtype else apply(ops.astype, data, dtype=self.dtype)
            current.recording.add(ops.detach, (source,), {}, self)

    # Data ------------------------------------------------------------------------------------------------------------

    @property
    def data(self) -> np.ndarray:
        """The elements, read-only."""
        self._check_stays(".data")
        self._array.flags.writeable = False
        return self._array.view()

    @property
    def shape(self) -> ops.Shape:
        """The lengths of the axes."""
        return self._array.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self._array.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self._array.size

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the elements."""
        return self._array.dtype

    @property
    def requires_grad(self) -> bool:
        """Whether gradients with respect to this tensor can be computed. It can be set on a leaf of floats."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if value and self._array.dtype.kind not in "fc":
            raise TypeError(f"Tensor: a gradient needs floating-point data, got {self._array.dtype}; give dtype=float")
        if self._link is not None:
            raise ValueError(f"requires_grad: this Tensor is the result of {self._link.op.name}; use .detach() for a constant")
        self._is_frozen = not value and self.is_parameter
        self._requires_grad = bool(value)

    @property
    def is_parameter(self) -> bool:
        """Whether this is a leaf that requires a gradient, or required one until ``requires_grad = False`` froze it."""
        return self._link is None and (self._requires_grad or self._is_frozen)

    @property
    def is_leaf(self) -> bool:
        """Whether this tensor has no graph: it was not computed from Tensors that require a gradient."""
        return self._link is None

    def numpy(self) -> np.ndarray:
        """Return a copy of the elements as an array, which has no graph."""
        self._check_stays(".numpy()")
        return self._array.copy()

    def item(self) -> Any:
        """Return the only element as a Python number."""
        if self.size != 1:
            raise ValueError(f"item: a Tensor of shape {self.shape} has {self.size} elements, expected 1")
        self._check_stays("the number")
        return self._array.item()

    def _check_stays(self, way_out: str) -> None:
        if current.recording is not None:
            current.recording.check_stays(self, way_out)
        self._check_graph(way_out)

    def _check_graph(self, way_out: str) -> None:
        if self._requires_grad and linking.block and linking.enabled:
            raise TypeError(
                f"{users_line()}: {way_out} of a Tensor that requires a gradient would lose it inside {linking.block}; "
                "compute with Tensors, or call .detach() first if no gradient is meant"
            )

    def detach(self) -> Tensor:
        """Return a constant with the same elements."""
        return apply(ops.detach, self)

    def assign(self, value: ArrayLike | Tensor) -> None:
        """Replace the elements of a leaf by others of the same shape, converted to its dtype.

        A graph that used the old elements can no longer be differentiated with respect to them: `grad` then raises an error.

        Raises
        ------
        ValueError
            If the shape differs, or if this tensor was computed from others.
        """
        if current.recording is not None:
            current.recording.check_pure("a Tensor is assigned to")
        array = _own_array(value, self.dtype)
        if array.shape != self.shape:
            raise ValueError(f"assign: value has shape {array.shape}, expected {self.shape}")
        if self._link is not None:
            raise ValueError(f"assign: this Tensor is the result of {self._link.op.name}; only a leaf can be assigned to")
        self._array = np.asarray(array, order="C")  # one memory layout, so that a captured program fits every later value

    @contextmanager
    def _holding(self, array: np.ndarray) -> Iterator[None]:
        """Hold another array of any dtype inside a block, to evaluate a function at another point."""
        before = self._array
        self._array = array
        try:
            yield
        finally:
            self._array = before

    def __repr__(self) -> str:
        text = np.array2string(self._array, separator=", ", prefix="Tensor(")
        dtype = f", dtype={self.dtype}" if self.dtype not in (np.float64, np.int64, np.bool_) else ""
        return f"Tensor({text}{dtype}{', requires_grad=True' if self.requires_grad else ''})"

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of a Tensor without axes")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __format__(self, spec: str) -> str:
        return format(self.detach().item(), spec) if spec and self.size == 1 else format(repr(self), spec)

    def __reduce__(self) -> Any:
        if self._link is not None:
            raise TypeError(
                f"this Tensor is the result of {self._link.op.name} and has a graph, which a copy, pickle or plot would lose; "
                "use .detach() for a constant, or .numpy() for an array"
            )
        self._check_stays("a copy")
        return (_frozen, (self._array,)) if self._is_frozen else (Tensor, (self._array, self._requires_grad))

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(f"the truth value of a Tensor of shape {self.shape} is ambiguous; reduce it first")
        return bool(self.item())

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise TypeError("a Tensor is immutable; build a new one with where or concatenate, or assign to a whole leaf")

    # Differentiation -------------------------------------------------------------------------------------------------

    def backward(self, gradient: ArrayLike | Tensor | None = None) -> None:
        """Add the gradient of this tensor to the `.grad` of every leaf with `requires_grad` that it was computed from.

        Parameters
        ----------
        gradient : array_like, optional
            The cotangent of this tensor. A tensor of one element has the cotangent 1 by default.

        Raises
        ------
        ValueError
            If this tensor depends on nothing that requires a gradient, or if `gradient` is missing or has another shape.
        """
        if linking.block and linking.enabled:
            raise TypeError(
                f"{users_line()}: backward inside {linking.block}, where its gradients would lose their graph; use grad"
            )
        check_has_graph("backward", self)
        cotangent = starting_cotangent("backward", self, gradient)
        leaves = [tensor for tensor in ancestors([self]) if tensor._link is None]
        for leaf, share in zip(leaves, pull_back([self], [cotangent], leaves), strict=True):
            if share is not None:
                leaf.grad = share.detach() if leaf.grad is None else leaf.grad + share  # not the caller's `gradient` itself

    __hash__ = object.__hash__

    # Protocols, called by ops and by NumPy's `asarray` ---------------------------------------------------------------

    def __op__(self, op: Op, operands: Sequence[Any], params: dict[str, Any]) -> Tensor:
        return apply(op, *_align(op, operands), **params)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        self._check_stays("an array")
        if self._requires_grad:
            raise TypeError(
                "this Tensor requires a gradient, which an array would lose; use .detach() or .numpy() to say so, "
                "or tl.stack to join Tensors"
            )
        return np.array(self.data, dtype=dtype, copy=copy)


# Construction --------------------------------------------------------------------------------------------------------


def _own_array(data: Any, dtype: DTypeLike | None) -> np.ndarray:
    """Copy `data`, so that later writes to the original do not change the Tensor."""
    if isinstance(data, Tensor):
        data._check_graph("a copy")
        if dtype is None or data.dtype == dtype:
            return data._array  # the array of a Tensor is never written to, so it may be shared
        data = data._array
    if isinstance(data, np.ma.MaskedArray):
        raise TypeError("Tensor: data is a masked array, whose mask would be lost; fill it first")
    try:
        array = np.array(data)
    except ValueError as error:
        raise ValueError(f"Tensor: data is ragged, expected a rectangular array ({error})") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"Tensor: data has dtype {array.dtype}, expected real numbers or booleans")
    wanted = array.dtype if dtype is None else np.dtype(dtype)
    if wanted.kind not in "fiub" or (wanted.kind == "f" and wanted not in (np.float32, np.float64)):
        raise TypeError(f"Tensor: dtype is {wanted}, expected float64, float32, integers or booleans; give dtype=")
    return array.astype(wanted, copy=False)


_new = object.__new__


def wrap(array: Any, link: Link | None = None) -> Tensor:
    """Make a Tensor of an array without a copy, for results, which no one else holds: a constant unless it has a link.

    It sets the fields of `Tensor.__init__` without its checks, which would take longer than a small op.
    """
    tensor = _new(Tensor)
    tensor._array = array if type(array) is np.ndarray else np.asarray(array)  # a ufunc turns 0-d arrays into scalars
    tensor._link = link
    tensor.grad = None
    tensor._is_frozen = False
    tensor._requires_grad = link is not None
    return tensor


def _frozen(array: np.ndarray) -> Tensor:
    """Make a frozen parameter, for a copy or a pickle of one."""
    tensor = Tensor(array, requires_grad=True)
    tensor.requires_grad = False
    return tensor


def as_tensor(data: ArrayLike | Tensor) -> Tensor:
    """Return `data` if it is a Tensor, else a constant Tensor with a copy of it."""
    return data if isinstance(data, Tensor) else Tensor(data)


def named_tensor(name: str, data: ArrayLike | Tensor) -> Tensor:
    """Return `data` as a Tensor. If it holds no real numbers, the error begins with `name`."""
    try:
        return as_tensor(data)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {str(error).removeprefix('Tensor: ')}") from None


# Running ops ---------------------------------------------------------------------------------------------------------


def apply(op: Op, *tensors: Tensor, **params: Any) -> Tensor:
    """Run `op` on aligned tensors and link the result to them. Every op on Tensors runs here.

    Parameters
    ----------
    op : Op
    *tensors : Tensor
        The operands. Those of an elementwise op have equal shapes, and equal dtypes except for conditions.
    **params
        The op's metadata.

    Returns
    -------
    Tensor

    Examples
    --------
    >>> apply(ops.reduce_sum, Tensor([1.0, 2.0]), axes=(-1,))
    Tensor([3.])
    """
    arrays = [tensor._array for tensor in tensors]
    array = op.run(*arrays, **params)
    link = None
    constants = linking.constants
    if constants is not None and op.vjps:
        for tensor in tensors:
            if tensor._requires_grad and not (constants and id(tensor) in constants):
                link = Link(op, tensors, arrays, params)
                break
    result = wrap(array, link)
    if current.recording is not None:
        current.recording.add(op, tensors, params, result)
    return result


def _align(op: Op, operands: Sequence[Any]) -> Sequence[Tensor]:
    """Make the operands Tensors of one floating dtype, and of one shape if the op is elementwise.

    A Python number takes the dtype of the Tensors. Integers and booleans become floats if another operand is a float. Two
    different floating dtypes are refused, because precision must never change silently.
    """
    if _are_aligned(operands):
        return operands
    mixed = [x if type(x) is Tensor or _is_number(x) else as_tensor(x) for x in operands]
    common: np.dtype | None = None
    others = False
    for x in mixed[op.values]:
        if type(x) is Tensor:
            dtype = x._array.dtype
            if dtype.kind not in "fc":
                others = True
            elif common is None:
                common = dtype
            elif dtype != common and dtype.kind == common.kind:
                raise TypeError(f"{op.name}: operands are {common} and {dtype}; convert one with .astype()")
    if others and common is not None:
        mixed[op.values] = [x.astype(common) if type(x) is Tensor and x.dtype.kind in "iub" else x for x in mixed[op.values]]
    if not op.elementwise:
        return [as_tensor(x) for x in mixed]
    shape = _broadcast_shape(op, mixed)
    if common is None:  # all Tensors are integers or booleans, so NumPy's rule decides the dtype of a number
        dtypes = [x._array.dtype for x in mixed[op.values] if type(x) is Tensor]
        return [_stretch(x, shape) if type(x) is Tensor else _constant(x, shape, np.result_type(*dtypes, x)) for x in mixed]
    return [_stretch(x, shape) if type(x) is Tensor else _constant(x, shape, common) for x in mixed]


def _are_aligned(operands: Sequence[Any]) -> bool:
    """Whether the operands are Tensors of one dtype and shape.

    When nothing is recorded, a Tensor without axes may pass as it is: NumPy broadcasts it.
    """
    first = operands[0]
    if type(first) is not Tensor:
        return False
    for x in operands[1:]:
        if type(x) is not Tensor:
            return False
        a, b = first._array, x._array
        if a.dtype != b.dtype:
            return False
        if a.shape != b.shape and (_is_recorded() or (a.shape and b.shape)):
            return False
    return True


def _is_recorded() -> bool:
    """Whether every op must run through `apply`, `broadcast_to` too, for a graph or a recording."""
    return linking.enabled or current.recording is not None


def _stretch(x: Tensor, shape: ops.Shape) -> Tensor:
    return x if x._array.shape == shape else apply(ops.broadcast_to, x, shape=shape)


def _is_number(x: Any) -> bool:
    return isinstance(x, (float, int, np.number, np.bool_)) and not isinstance(x, np.complexfloating)


def _constant(number: Any, shape: ops.Shape, dtype: np.dtype | None) -> Tensor:
    """Make a constant of `shape` whose elements all share one number in memory."""
    element = np.array(number, dtype)
    return wrap(np.ndarray(shape, element.dtype, element, strides=(0,) * len(shape)))


def _broadcast_shape(op: Op, operands: Sequence[Any]) -> ops.Shape:
    shapes = [x._array.shape for x in operands if type(x) is Tensor]
    shape = max(shapes, key=len, default=())
    if all(other == shape or not other for other in shapes):
        return shape
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(f"{op.name}: shapes {' and '.join(map(str, shapes))} do not broadcast") from None


def check_has_graph(caller: str, output: Tensor) -> None:
    """Raise an error if `output` is a constant."""
    if not output.requires_grad:
        raise NoGraphError(f"{caller}: the output depends on no Tensor with requires_grad=True, so it has no gradient")


def starting_cotangent(caller: str, output: Tensor, gradient: ArrayLike | Tensor | None) -> Tensor:
    """Return the cotangent of `output`: `gradient`, which must have its shape, or 1 for a single element."""
    if gradient is None:
        if output.size != 1:
            raise ValueError(
                f"{caller}: the output has shape {output.shape}, expected one element; reduce it, or give its cotangent"
            )
        return _constant(1.0, output.shape, output.dtype)
    return vector_like(f"{caller}: the cotangent", gradient, output)


def vector_like(name: str, data: ArrayLike | Tensor, point: Tensor) -> Tensor:
    """Return `data`, a cotangent or tangent at `point`, as a Tensor of its dtype; raise an error if the shapes differ."""
    vector = named_tensor(name, data)
    if vector.shape != point.shape:
        raise ValueError(f"{name} has shape {vector.shape}, expected {point.shape}")
    return vector.astype_like(point)
