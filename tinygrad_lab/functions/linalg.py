"""Matrices: `numpy.linalg`, for matrices in the last two axes and any leading axes.

The VJPs are those of Giles, "Collected matrix derivative results for forward and reverse mode algorithmic differentiation"
(2008), unless another source is named. Where a derivative does not exist, because a matrix is singular or two eigenvalues or
singular values are equal, numpy.linalg.LinAlgError says so.
"""

from __future__ import annotations

from math import inf
from operator import index
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.linalg import LinAlgError

from tinygrad_lab.autodiff import ops
from tinygrad_lab.autodiff.functions import concatenate, matmul
from tinygrad_lab.autodiff.methods.protocol import implements
from tinygrad_lab.autodiff.ops import Op, Shape
from tinygrad_lab.autodiff.tensor import Tensor, as_tensor
from tinygrad_lab.functions.elementwise import allocating
from tinygrad_lab.functions.movement import moveaxis


def _t(x: Any) -> Any:
    return ops.transpose(x, axes=(-1, -2))


def _mm(*factors: Any) -> Any:
    product = factors[0]
    for factor in factors[1:]:
        product = ops.matmul(product, factor)
    return product


def _square(shape: Shape) -> Shape:
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ValueError(f"given shape {shape}, expected (..., n, n)")
    return shape


def _constant(like: Any, matrix: np.ndarray) -> Any:
    """Return a matrix with the dtype and the leading axes of `like`, as an operand for it."""
    return ops.broadcast_to(
        matrix.astype(np.float64 if like.dtype.kind == "c" else like.dtype), shape=(*like.shape[:-2], *matrix.shape)
    )


def _times(x: Any, matrix: np.ndarray) -> Any:
    return x * _constant(x, matrix)


def _rows(vector: Any, n: int) -> Any:
    """Repeat each vector (..., k) as n rows: (..., n, k)."""
    shape = (*vector.shape[:-1], n, vector.shape[-1])
    return ops.broadcast_to(ops.reshape(vector, shape=(*vector.shape[:-1], 1, vector.shape[-1])), shape=shape)


def _halves(x: Any, rows: int) -> tuple[Any, Any]:
    """Return the first rows and the others. An op has one result, so a pair of matrices is one above the other."""
    upper = ops.getitem(x, index=(..., slice(rows), slice(None)))
    return upper, ops.getitem(x, index=(..., slice(rows, None), slice(None)))


# y = a⁻¹ b            b̄ = a⁻ᵀ g,  ā = -b̄ yᵀ
def _solved(a: Shape, b: Shape) -> Shape:
    if len(b) < 2 or _square(a)[:-1] != b[:-1]:
        raise ValueError(f"given shapes {a} and {b}, expected (..., n, n) and (..., n, k)")
    return b


solve: Op = Op(
    "solve", allocating(np.linalg.solve), _solved,
    (lambda g, y, a, b: -_mm(solve(_t(a), g), _t(y)), lambda g, y, a, b: solve(_t(a), g)),
)  # fmt: skip

# y = a⁻¹              ā = -yᵀ g yᵀ
inv: Op = Op("inv", allocating(np.linalg.inv), _square, (lambda g, y, a: -_mm(_t(y), g, _t(y)),))


# y = det a            ā = g times the matrix of cofactors
def _scaled(scale: Any, matrix: Any) -> Any:
    return ops.broadcast_to(ops.reshape(scale, shape=(*scale.shape, 1, 1)), shape=matrix.shape) * matrix


def _determinant(shape: Shape) -> Shape:
    return _square(shape)[:-2]


det: Op = Op("det", allocating(np.linalg.det), _determinant, (lambda g, y, a: _scaled(g, cofactors(a)),))


# y = det(a) a⁻ᵀ, which exists for a singular a too       ā = (Σ g y - y gᵀ) a⁻ᵀ
def _cofactors(a: Any) -> Any:
    finite = np.isfinite(a).all((-2, -1), keepdims=True)  # LAPACK finds no singular vectors of other matrices
    u, s, vh = np.linalg.svd(np.where(finite, a, 0.0))
    others = np.where(np.eye(s.shape[-1], dtype=bool), 1, s[..., None, :]).prod(-1, dtype=s.dtype)
    sign = np.linalg.det(u) * np.linalg.det(vh)
    return np.where(finite, sign[..., None, None] * (u * others[..., None, :]) @ vh, np.nan)


def _cofactors_vjp(g: Any, y: Any, a: Any) -> Any:
    total = ops.reduce_sum(g * y, axes=(-2, -1))
    return _t(solve(a, _times(ops.broadcast_to(total, shape=a.shape), np.eye(a.shape[-1])) - _mm(g, _t(y))))


cofactors: Op = Op("cofactors", allocating(_cofactors), _square, (_cofactors_vjp,), analytic=False)

# y = log |det a|      ā = g a⁻ᵀ
logdet: Op = Op(
    "logdet", allocating(lambda a: np.linalg.slogdet(a)[1]), _determinant, (lambda g, y, a: _scaled(g, _t(inv(a))),),
    analytic=False,
)  # fmt: skip

# y = the sign of det a, constant between its jumps
detsign: Op = Op("detsign", allocating(lambda a: np.linalg.slogdet(a)[0]), _determinant, analytic=False)


# LAPACK reads only the lower triangle of a symmetric matrix. So does the derivative of an op that takes one.
def _in_lower_triangle(share: Any) -> Any:
    n = share.shape[-1]
    return _times(share + _t(share), np.tri(n) - np.eye(n) / 2)


# y yᵀ = a, y lower triangular      ā = y⁻ᵀ φ(yᵀ g) y⁻¹; φ takes the lower triangle and half of the diagonal
# (Murray, "Differentiation of the Cholesky decomposition", 2016)
def _cholesky_vjp(g: Any, y: Any, a: Any) -> Any:
    n = a.shape[-1]
    middle = _times(_mm(_t(y), g), np.tri(n) - np.eye(n) / 2)
    return _in_lower_triangle(solve(_t(y), _t(solve(_t(y), _t(middle)))))


cholesky: Op = Op("cholesky", allocating(np.linalg.cholesky), _square, (_cholesky_vjp,), analytic=False)


# y = the pseudo-inverse of a, of constant rank
# ā = -yᵀ g yᵀ + (1 - a y) gᵀ y yᵀ + yᵀ y gᵀ (1 - y a)      (Golub & Pereyra, SIAM J. Numer. Anal. 10, 1973)
def _pinv_vjp(g: Any, y: Any, a: Any, **_: Any) -> Any:
    left = _mm(_t(g), y, _t(y))
    right = _mm(_t(y), y, _t(g))
    return -_mm(_t(y), g, _t(y)) + (left - _mm(a, y, left)) + (right - _mm(right, y, a))


pinv: Op = Op(
    "pinv", allocating(np.linalg.pinv), lambda shape, **_: (*shape[:-2], shape[-1], shape[-2]), (_pinv_vjp,), analytic=False
)


# y = q over r, where q r = a, r is upper triangular and a has at least as many rows as columns
# ā = (q̄ + q s) r⁻ᵀ, m = r r̄ᵀ - q̄ᵀ q, and s is symmetric with the lower triangle of m
# (Walter & Lehmann, "Algorithmic differentiation of linear algebra functions", 2010)
def _qr_vjp(g: Any, y: Any, a: Any) -> Any:
    rows, n = a.shape[-2:]
    (q, r), (gq, gr) = _halves(y, rows), _halves(g, rows)
    m = _mm(r, _t(gr)) - _mm(_t(gq), q)
    symmetric = _times(m, np.tri(n)) + _t(_times(m, np.tri(n, k=-1)))
    return _t(solve(r, _t(gq + _mm(q, symmetric))))


def _qr_shape(shape: Shape) -> Shape:
    if len(shape) < 2 or shape[-2] < shape[-1]:
        raise ValueError(f"given shape {shape}, expected at least as many rows as columns")
    return (*shape[:-2], shape[-2] + shape[-1], shape[-1])


qr: Op = Op("qr", allocating(lambda a: np.concatenate(np.linalg.qr(a), axis=-2)), _qr_shape, (_qr_vjp,), analytic=False)


# Eigenvalues and singular values -------------------------------------------------------------------------------------


# y[i, j] = 1 / (x[j] - x[i]), and 0 for i = j       x̄[j] = -Σ g[i, j] y[i, j]² over i, and with the other sign for i
def _gaps(x: Any, *, of: str) -> Any:
    gaps = x[..., None, :] - x[..., :, None]
    n = x.shape[-1]
    scale = np.abs(x).max(-1, initial=0.0)[..., None, None]
    equal = (np.abs(gaps) <= n * np.finfo(x.dtype).eps * scale) & ~np.eye(n, dtype=bool)
    if equal.any():
        raise LinAlgError(f"two {of} are equal, so this derivative does not exist; differentiate a function without it")
    return np.divide(1, gaps, out=np.zeros_like(gaps), where=gaps != 0)


def _gaps_vjp(g: Any, y: Any, x: Any, of: str) -> Any:
    share = g * y * y
    n = x.shape[-1]
    total = ops.reduce_sum(_t(share), axes=(-1,)) - ops.reduce_sum(share, axes=(-1,))
    return -ops.reshape(total, shape=(*x.shape[:-1], n))


reciprocal_gaps: Op = Op("reciprocal_gaps", allocating(_gaps), lambda shape, *, of: (*shape, shape[-1]), (_gaps_vjp,))


# y = the eigenvalues of a symmetric a, v = the eigenvectors       ā = v diag(g) vᵀ
def _eigvalsh_vjp(g: Any, y: Any, a: Any) -> Any:
    v = eigenvectors(a)
    return _in_lower_triangle(_mm(v * _rows(g, a.shape[-1]), _t(v)))


eigvalsh: Op = Op(
    "eigvalsh", allocating(np.linalg.eigvalsh), lambda shape: _square(shape)[:-1],
    (_eigvalsh_vjp,), analytic=False,
)  # fmt: skip


# y = the eigenvectors of a symmetric a       ā = y (f ∘ yᵀ g) yᵀ, f[i, j] = 1 / (λ[j] - λ[i])
def _eigenvectors_vjp(g: Any, y: Any, a: Any) -> Any:
    return _in_lower_triangle(_mm(y, reciprocal_gaps(eigvalsh(a), of="eigenvalues") * _mm(_t(y), g), _t(y)))


eigenvectors: Op = Op("eigenvectors", allocating(lambda a: np.linalg.eigh(a)[1]), _square, (_eigenvectors_vjp,), analytic=False)


# y = the singular values of a = u diag(y) vᵀ       ā = u diag(g) vᵀ
def _svdvals_vjp(g: Any, y: Any, a: Any) -> Any:
    u, v = _halves(singular_vectors(a), a.shape[-2])
    return _mm(u * _rows(g, a.shape[-2]), _t(v))


svdvals: Op = Op(
    "svdvals", allocating(np.linalg.svdvals), lambda shape: (*shape[:-2], min(shape[-2:])), (_svdvals_vjp,), analytic=False
)


# y = u over v, the singular vectors of a. With f[i, j] = 1 / (s[j]² - s[i]²), and p = f ∘ (uᵀ ū - ūᵀ u), q = f ∘ (vᵀ v̄ - v̄ᵀ v):
# ā = u (p diag(s) + diag(s) q) vᵀ + (1 - u uᵀ) ū diag(1/s) vᵀ + u diag(1/s) v̄ᵀ (1 - v vᵀ)
# (Townsend, "Differentiating the singular value decomposition", 2016)
def _singular_vectors_vjp(g: Any, y: Any, a: Any) -> Any:
    rows, columns = a.shape[-2:]
    (u, v), (gu, gv) = _halves(y, rows), _halves(g, rows)
    s = svdvals(a)
    k = s.shape[-1]
    f = reciprocal_gaps(s, of="singular values") * reciprocal_sums(s)
    pu, pv = _mm(_t(u), gu), _mm(_t(v), gv)
    middle = f * (pu - _t(pu)) * _rows(s, k) + _t(_rows(s, k)) * f * (pv - _t(pv))
    share = _mm(u, middle, _t(v))
    if rows > k:
        share = share + _mm((gu - _mm(u, pu)) / _rows(s, rows), _t(v))
    if columns > k:
        share = share + _mm(u, _t((gv - _mm(v, pv)) / _rows(s, columns)))
    return share


def reciprocal_sums(s: Any) -> Any:
    """Return 1 / (s[j] + s[i]), with 1 on the diagonal, where it is not used."""
    k = s.shape[-1]
    total = _rows(s, k) + _t(_rows(s, k))
    return 1.0 / ops.where(_constant(total, np.eye(k)) > 0, 1.0, total)


def _vectors(a: Any) -> Any:
    u, _, vh = np.linalg.svd(a, full_matrices=False)
    return np.concatenate([u, np.swapaxes(vh, -1, -2)], axis=-2)


singular_vectors: Op = Op(
    "singular_vectors", allocating(_vectors), lambda shape: (*shape[:-2], sum(shape[-2:]), min(shape[-2:])),
    (_singular_vectors_vjp,), analytic=False,
)  # fmt: skip


# NumPy's functions ---------------------------------------------------------------------------------------------------


def _matrix(a: Any) -> Tensor:
    x = as_tensor(a)
    if x.ndim < 2:
        raise ValueError(f"given shape {x.shape}, expected a matrix (..., m, n)")
    return x.astype(np.float64) if x.dtype.kind in "iub" else x


def _square_matrix(a: Any) -> Tensor:
    x = _matrix(a)
    _square(x.shape)
    return x


def _with_lower_triangle(a: Any, given: str = "L") -> Tensor:
    """Return a matrix with the given triangle, the upper or the lower one, as the lower one."""
    if given not in ("L", "U", "l", "u"):
        raise ValueError(f"UPLO is {given!r}, expected 'L' or 'U'")
    x = _square_matrix(a)
    return x if given in "Ll" else _t(x)


@implements("linalg.solve")
def numpy_solve(a: Any, b: Any) -> Tensor:
    matrix, right = _square_matrix(a), as_tensor(b)
    vector = right.ndim == 1
    right = (right[:, None] if vector else _matrix(right)) / 1.0
    if matrix.shape[-1] != right.shape[-2]:
        raise ValueError(f"given shapes {matrix.shape} and {np.shape(b)}, expected (..., n, n) and (..., n, k) or (n,)")
    batch = np.broadcast_shapes(matrix.shape[:-2], right.shape[:-2])
    result = solve(matrix.broadcast_to(*batch, *matrix.shape[-2:]), right.broadcast_to(*batch, *right.shape[-2:]))
    return result[..., 0] if vector else result


@implements("linalg.inv")
def numpy_inv(a: Any) -> Tensor:
    return inv(_square_matrix(a))


@implements("linalg.det")
def numpy_det(a: Any) -> Tensor:
    return det(_square_matrix(a))


@implements("linalg.slogdet")
def slogdet(a: Any) -> Any:
    x = _square_matrix(a)
    return np.linalg._linalg.SlogdetResult(detsign(x), logdet(x))


@implements("linalg.cholesky")
def numpy_cholesky(a: Any, upper: bool = False) -> Tensor:
    lower = cholesky(_with_lower_triangle(a, "U" if upper else "L"))
    return _t(lower) if upper else lower


@implements("linalg.pinv")
def numpy_pinv(a: Any, rcond: Any = None, rtol: Any = None) -> Tensor:
    cut = rtol if rcond is None else rcond
    return pinv(_matrix(a)) if cut is None else pinv(_matrix(a), rcond=cut)


@implements("linalg.qr")
def numpy_qr(a: Any, mode: str = "reduced") -> Any:
    x = _matrix(a)
    if mode not in ("reduced", "r"):
        raise ValueError(f"mode is {mode!r}, expected 'reduced' or 'r'; the other columns of a complete q are not unique")
    rows, columns = x.shape[-2:]
    q, r = _halves(qr(x[..., : min(rows, columns)]), rows)
    if columns > rows:
        r = concatenate([r, matmul(_t(q), x[..., rows:])], axis=-1)
    return r if mode == "r" else np.linalg._linalg.QRResult(q, r)


@implements("linalg.eigvalsh")
def numpy_eigvalsh(a: Any, UPLO: str = "L") -> Tensor:  # noqa: N803 (NumPy's name)
    return eigvalsh(_with_lower_triangle(a, UPLO))


@implements("linalg.eigh")
def eigh(a: Any, UPLO: str = "L") -> Any:  # noqa: N803 (NumPy's name)
    x = _with_lower_triangle(a, UPLO)
    return np.linalg._linalg.EighResult(eigvalsh(x), eigenvectors(x))


@implements("linalg.svdvals")
def numpy_svdvals(x: Any) -> Tensor:
    return svdvals(_matrix(x))


@implements("linalg.svd")
def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    x = _matrix(a)
    if not compute_uv:
        return svdvals(x)
    if full_matrices and x.shape[-1] != x.shape[-2]:
        raise ValueError("full_matrices is True, but the vectors beyond the singular values are not unique; give False")
    u, v = _halves(singular_vectors(x), x.shape[-2])
    return np.linalg._linalg.SVDResult(u, svdvals(x), _t(v))


@implements("linalg.cond")
def cond(x: Any, p: Any = None) -> Tensor:
    if p in (None, 2, -2):
        values = svdvals(_matrix(x))
        return values[..., -1] / values[..., 0] if p == -2 else values[..., 0] / values[..., -1]
    return norm(x, p, (-2, -1)) * norm(numpy_inv(x), p, (-2, -1))


@implements("linalg.matrix_power")
def matrix_power(a: Any, n: int) -> Tensor:
    x = _square_matrix(a)
    if index(n) < 0:
        return matrix_power(inv(x), -n)
    if n == 0:
        return as_tensor(np.broadcast_to(np.eye(x.shape[-1], dtype=x.dtype), x.shape))
    half = matrix_power(x, n // 2) if n > 1 else None
    square = matmul(half, half) if half is not None else None
    return x if square is None else matmul(square, x) if n % 2 else square


@implements("linalg.multi_dot")
def multi_dot(arrays: Any) -> Tensor:
    product = arrays[0]
    for x in arrays[1:]:
        product = matmul(product, x)
    return product


@implements("linalg.norm")
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Tensor:
    x = as_tensor(x) / 1.0 if as_tensor(x).dtype.kind in "iub" else as_tensor(x)
    if axis is None and (ord is None or (ord in ("fro", "f") and x.ndim == 2) or (ord == 2 and x.ndim == 1)):
        return x.norm(None, keepdims)
    axes = x._axes(axis) if not isinstance(axis, (tuple, list)) else normalize_axis_tuple(axis, x.ndim)
    if len(axes) == 1:
        return _vector_norm(x, 2 if ord is None else ord, axes[0], keepdims)
    if len(axes) != 2:
        raise ValueError(f"axis is {axis} and the shape {x.shape}; expected one axis or two")
    return _matrix_norm(x, "fro" if ord is None else ord, axes, keepdims)


def _vector_norm(x: Tensor, order: Any, axis: Any, keepdims: bool) -> Tensor:
    size = abs(x)
    if isinstance(order, str):
        raise ValueError(f"ord is {order!r}, expected a number for a vector")
    if order == 2:
        return x.norm(axis, keepdims)
    if order in (inf, -inf):
        return size.max(axis, keepdims) if order > 0 else size.min(axis, keepdims)
    if order == 0:
        return ops.astype(ops.not_equal(x, 0.0), dtype=x.dtype).sum(axis, keepdims)
    if order == 1:
        return size.sum(axis, keepdims)
    # Divide by the element that counts most, so that no power overflows. As in the Euclidean norm, derivatives may take it for
    # a constant, and the derivative at 0 is 0: 0 and its power are constants.
    extreme = size._top(axis) if order > 0 else -(-size)._top(axis)
    scale = ops.where(ops.equal(extreme, 0.0), 1.0, extreme)
    zero, power_of_zero = ops.equal(x, 0.0), 0.0 if order > 0 else inf
    powers = ops.where(zero, power_of_zero, ops.power(ops.where(zero, 1.0, size / scale), float(order)))
    total = powers.sum(axis, keepdims=True)
    zero = ops.equal(total, power_of_zero)
    root = ops.where(zero, 0.0, ops.power(ops.where(zero, 1.0, total), 1.0 / order))
    return ops.multiply(root, scale)._without(axis, keepdims)


def _matrix_norm(x: Tensor, order: Any, axes: tuple[int, ...], keepdims: bool) -> Tensor:
    if order in ("fro", "f"):
        return x.norm(axes, keepdims)
    rows, columns = (axis % x.ndim for axis in axes)
    if order in (1, -1, inf, -inf):
        summed, other = (rows, columns) if abs(order) == 1 else (columns, rows)
        sums = abs(x).sum(summed, keepdims=True)
        largest = sums.max(other, keepdims=True) if order > 0 else sums.min(other, keepdims=True)
        return largest if keepdims else largest.squeeze((rows, columns))
    values = svdvals(moveaxis(x, (rows, columns), (-2, -1)))
    if order not in (2, -2, "nuc"):
        raise ValueError(f"ord is {order!r}, expected 'fro', 'nuc', 1, -1, 2, -2, inf or -inf for a matrix")
    result = values.sum(-1) if order == "nuc" else values[..., 0 if order == 2 else -1]
    return result.expand_dims((rows, columns)) if keepdims else result


@implements("linalg.vector_norm")
def vector_norm(x: Any, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Tensor:
    return _vector_norm(as_tensor(x) / 1.0, ord, axis, keepdims)


@implements("linalg.matrix_norm")
def matrix_norm(x: Any, keepdims: bool = False, ord: Any = "fro") -> Tensor:
    return _matrix_norm(_matrix(x), ord, (-2, -1), keepdims)
