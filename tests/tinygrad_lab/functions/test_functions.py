"""NumPy's and SciPy's functions of Tensors: one table of calls, and what holds for every call in it.

- The value is NumPy's, with every keyword.
- The derivatives of orders 1 and 2 are right.
- A program repeats the call with other numbers: no value of today is frozen in it.
"""

import re
import warnings

import numpy as np
import pytest
import scipy.special as sp  # noqa: F401 (calls of the table)

import tinygrad_lab as tl
from tinygrad_lab import Tensor, capture
from tinygrad_lab.testing import check_grad

inf = np.inf
nan = np.nan
M = np.random.default_rng(1).random((3, 4)) < 0.5
I3 = np.eye(3)


def variables(seed=0):
    """The operands by the names that they have in the table."""
    rng = np.random.default_rng(seed)
    square = rng.uniform(0.2, 0.8, (3, 3)) + np.diag([2.0, 3.0, 4.0])
    return {
        "x": rng.uniform(0.2, 0.8, (3, 4)),
        "y": rng.uniform(0.25, 0.9, (3, 4)),
        "z": rng.uniform(-2.0, 2.0, (2, 3, 4)),
        "v": rng.uniform(0.2, 0.8, 4),
        "w": rng.uniform(-1.0, 1.0, 3),
        "c": rng.uniform(0.2, 0.8, ()),
        "s": square,
        "p": square @ square.T,
        "b": rng.uniform(-0.3, 0.3, (2, 3, 3)) + np.diag([2.0, 3.0, 4.0]),
        "r": rng.uniform(-0.3, 0.3, (2, 4, 3)) + np.eye(4, 3) * [2.0, 3.0, 4.0],
    }


ELEMENTWISE = """
np.tan(x)  np.arcsin(x)  np.arccos(x)  np.arctan(z)  np.sinh(z)  np.cosh(z)  np.tanh(z)  np.arcsinh(z)  np.arccosh(1+x)
np.arctanh(x)  np.sin(z)  np.cos(z)  np.exp(z)  np.exp2(z)  np.expm1(z)  np.log(x)  np.log2(x)  np.log10(x)  np.log1p(x)
np.sqrt(x)  np.cbrt(z)  np.square(z)  np.reciprocal(x)  np.abs(z)  np.fabs(z)  np.negative(z)  np.positive(z)  np.sinc(z)
np.sinc(3*z)  np.deg2rad(z)  np.rad2deg(z)  np.radians(z)  np.degrees(z)  np.real(x)  np.copy(x)  np.nan_to_num(z)
np.nan_to_num(np.where(M,nan,x),nan=2.0)  np.nan_to_num(np.where(M,inf,x),posinf=4.0)
np.nan_to_num(np.where(M,-inf,x),neginf=3.0)  np.sign(z)*z  np.floor(z)*z  np.ceil(z)*z  np.trunc(z)*z  np.fix(z)*z
np.rint(z)*z  np.round(z)*z  np.heaviside(z,0.5)*z  np.add(x,y)  np.subtract(x,v)  np.multiply(x,y)  np.divide(x,y)
np.true_divide(x,y)  np.power(x,y)  np.float_power(x,y)  np.arctan2(z,x)  np.arctan2(x,z)  np.hypot(z,x)  np.hypot(x,0.0)
np.logaddexp(z,x)  np.logaddexp2(z,x)  np.maximum(z,x)  np.minimum(z,x)  np.fmax(z,x)  np.fmin(z,x)
np.fmax(np.where(M,nan,x),y)  np.fmin(x,np.where(M,nan,y))  np.mod(z,1+x)  np.remainder(z,-1-x)  np.fmod(z,1+x)
np.floor_divide(z,1+x)*z  np.divmod(z,1+x)[1]  np.modf(z)[0]  z%(1+x)  z//(1+x)*z  2.5%(1+x)  2.5//(1+x)*x  divmod(z,1+x)[1]
divmod(2.5,1+x)[0]*x  np.clip(z,-0.5,0.5)  np.clip(z,a_min=-0.5,a_max=None)  np.clip(z,None,x)  np.clip(z,a_min=-0.5,a_max=x)
np.where(M,x,y)  np.where(x>0.5,x,y*y)  np.select([z>1,z<-1],[z*z,x],default=-z)  np.add.outer(v,w)  np.multiply.outer(x,w)
np.hypot.outer(v,w)  np.astype(x,np.float64)
"""

SPECIAL = """
sp.expit(z)  sp.erf(z)  sp.erfc(z)  sp.logit(x)  sp.ndtr(z)  sp.log_ndtr(z)  sp.log_ndtr(20*z)  sp.xlogy(z,x)  sp.xlog1py(z,x)
sp.gammaln(x)  sp.gammaln(z-0.03)  sp.digamma(x)  sp.psi(z-0.03)  sp.betaln(x,y)  sp.entr(x)  sp.rel_entr(x,y)  sp.kl_div(x,y)
sp.log_expit(z)  sp.exp2(z)  sp.exp10(z)  sp.cbrt(x)  sp.log1p(x)  sp.expm1(x)
"""

REDUCTIONS = """
np.sum(x)  np.sum(x,0)  np.sum(x,axis=(0,1))  np.sum(x,1,keepdims=True)  np.sum(x,initial=2.0)  np.sum(x,axis=0,where=M)
np.sum(x,dtype=np.float64)  np.prod(x)  np.prod(x,axis=1,where=M,initial=3.0)  np.max(z,axis=(0,2))  np.amax(z)  np.amin(z,0)
np.max(x,axis=0,initial=0.6)  np.max(x,axis=1,where=M,initial=0.3)  np.min(x,axis=1,where=M,initial=0.9,keepdims=True)
np.ptp(z,axis=1)  np.ptp(z,keepdims=True)  np.mean(x)  np.mean(x,axis=0,keepdims=True)  np.mean(x,where=M)
np.mean(x,axis=1,where=x>0.3)  np.mean(x,dtype=np.float64)  np.var(x,ddof=1)  np.var(x,axis=0,correction=1,keepdims=True)
np.var(x,where=M,ddof=1)  np.var(x,axis=1,mean=np.mean(x,axis=1,keepdims=True))  np.std(x,axis=0)  np.std(x,where=M)
np.average(x,axis=1)  np.average(x,weights=y)  np.average(x,axis=1,weights=v)  np.average(x,axis=0,weights=y,keepdims=True)
np.average(x,axis=0,weights=y,returned=True)[1]  np.cov(x)  np.cov(x,y,rowvar=False,bias=True)  np.cov(v,ddof=0)
np.corrcoef(x)  np.add.reduce(x)  np.add.reduce(x,axis=1,keepdims=True)  np.multiply.reduce(x,1)  np.maximum.reduce(x)
np.minimum.reduce(x,axis=None)  np.cumsum(x)  np.cumsum(z,axis=1)  np.cumsum(x,0,dtype=np.float64)  np.cumprod(x)
np.cumprod(z,axis=-1)  np.add.accumulate(x)  np.multiply.accumulate(x,1)  np.cumulative_sum(x,axis=1)
np.cumulative_prod(z,axis=-1,include_initial=True)  np.cumulative_sum(v,include_initial=True)  np.diff(z)
np.diff(z,n=2,axis=0+1)  np.diff(x,prepend=0.0)  np.diff(x,axis=0,append=y)  np.ediff1d(x)  np.trapezoid(x)
np.trapezoid(x,dx=0.5,axis=0)  np.trapezoid(x,np.cumsum(v))  np.trapezoid(x,np.cumsum(y,1))
np.trapezoid(x,np.cumsum(y,0),axis=0)  np.nansum(np.where(M,nan,x),axis=1,where=x>0.4)
np.nanmean(np.where(M,nan,x),0,keepdims=True)
np.nansum(np.where(M,nan,x),axis=0)  np.nanprod(np.where(M,nan,x))  np.nanmean(np.where(M,nan,x),axis=1)
np.nanvar(np.where(M,nan,x),ddof=1)  np.nanstd(np.where(M,nan,x),axis=1)  np.nanmax(np.where(M,nan,x),axis=0)
np.nanmin(np.where(M,nan,x),keepdims=True)  np.nancumsum(np.where(M,nan,x),axis=1)  np.nancumprod(np.where(M,nan,x))
np.nanmedian(np.where(M,nan,x),axis=1)  np.nanquantile(np.where(M,nan,x),[0.2,0.9],axis=1)
np.nanpercentile(np.where(M,nan,x),30)
np.bincount([0,2,2,0],weights=v)  np.bincount([0,1,1,1],weights=v,minlength=4)
"""

SORTING = """
np.sort(z)  np.sort(z,axis=0)  np.sort(z,axis=None)  np.sort(x,stable=True)  np.take_along_axis(x,np.argsort(y,0),0)
np.take_along_axis(z,np.argmax(z,axis=1,keepdims=True),axis=1)  np.median(z)  np.median(x,axis=0)  np.median(z,axis=(0,2))
np.median(x,axis=1,keepdims=True)  np.quantile(z,0.3)  np.quantile(z,[0.0,0.25,1.0],axis=1)  np.percentile(x,40,axis=0)
np.quantile(z,[[0.1,0.6]],axis=(0,1),keepdims=True)  np.interp(x,np.cumsum(v),w[[0,1,2,0]])  np.interp(z,[0.0,0.5,1.0],w)
np.interp(z,[0.0,0.5,1.0],w,left=-1.0,right=2.0)
"""

MOVEMENT = """
np.reshape(x,(2,6))  np.reshape(x,-1)  np.reshape(x,(4,3),order="F")  np.ravel(x)  np.ravel(x,"F")  np.transpose(z)
np.transpose(z,axes=(1,0,2))  np.transpose(z,(-1,0,1))  np.permute_dims(z,axes=(2,0,1))  np.swapaxes(z,0,2)
np.moveaxis(z,0,-1)  np.moveaxis(z,[0,1],[2,0])  np.rollaxis(z,2)  np.matrix_transpose(z)  np.linalg.matrix_transpose(z)
np.squeeze(x[None])  np.squeeze(x[:,None],axis=1)  np.expand_dims(x,0)  np.expand_dims(x,[0,2])  np.expand_dims(x,axis=(0,-1))
np.atleast_1d(c)  np.atleast_2d(v)  np.atleast_3d(x)  np.atleast_2d(c,v)[1]  np.broadcast_to(v,(3,4))  np.broadcast_to(c,3)
np.broadcast_arrays(v,x)[0]  np.flip(z)  np.flip(z,1)  np.flip(z,(0,2))  np.fliplr(x)  np.flipud(x)  np.rot90(x)
np.rot90(z,2,(1,2))  np.roll(x,1)  np.roll(x,(1,-2),axis=(0,1))  np.repeat(x,2)  np.repeat(x,[1,0,3],axis=0)  np.tile(x,2)
np.tile(v,(2,1,3))  np.resize(x,(5,4))  np.pad(x,1)  np.pad(x,((1,0),(0,2)),constant_values=3.0)  np.pad(x,2,"edge")
np.pad(x,2,"reflect")  np.pad(v,(1,2),mode="symmetric")  np.pad(v,3,mode="wrap")  np.diagonal(x)
np.diagonal(z,1,axis1=1,axis2=2)  np.linalg.diagonal(z,offset=-1)  np.diag(v)  np.diag(x)  np.diag(v,k=-1)  np.diagflat(x)
np.tril(x)  np.tril(v)
np.triu(v,1)  np.triu(z,k=1)  np.trace(x)  np.trace(z,offset=1,axis1=1,axis2=2)  np.linalg.trace(b)  np.take(x,[0,2,0])
np.take(x,[[1,-1]],axis=1)  np.take(x,[0,7],axis=1,mode="wrap")  np.take(x,[-3,9],axis=1,mode="clip")  np.delete(x,1,axis=0)
np.delete(x,[0,5])  np.insert(x,1,v,axis=0)  np.append(x,y)  np.append(x,y,axis=1)  np.compress([True,False,True],x,axis=0)
np.extract(M,x)  np.concatenate([x,y])  np.concatenate((x,y),axis=1)  np.concatenate([x,z],axis=None)
np.concatenate([x,M],axis=1,dtype=float)  np.stack([x,y])  np.stack([x,y],axis=-1)  np.vstack([v,x])  np.hstack([x,y])
np.hstack([v,v*v])  np.dstack([x,y])  np.column_stack([w,x])  np.column_stack([w,w])  np.block([[x,y],[y,x]])  np.block([v,c])
np.split(x,2,axis=1)[1]  np.split(x,[1,3],axis=1)[1]  np.array_split(v,3)[0]  np.hsplit(x,2)[1]  np.vsplit(x,3)[2]
np.dsplit(z,[1])[1]  np.meshgrid(v,w)[0]  np.meshgrid(v,w,indexing="ij")[1]  np.meshgrid(v,w,sparse=True)[1]  np.unstack(x)[1]
np.linspace(v,1.0,4)  np.linspace(c,v,5,endpoint=False,axis=1)  np.logspace(v,0.5,3)  x[[0,0,2],1:]  x.ravel()  x.flatten()
x.dot(v)  x.cumsum(1)  x.cumprod()  x.diagonal()  x.trace()  x.repeat(2,axis=0)  x.take([1,2],axis=1)
"""

CONTRACTIONS = """
np.dot(x,v)  np.dot(x,y.T)  np.dot(z,y.T)  np.dot(2.0,x)  np.dot(v,np.swapaxes(z,1,2))  np.inner(x,y)  np.inner(v,v)
np.inner(z,v)  np.outer(v,w)  np.outer(x,w)  np.linalg.outer(v,w)  np.vdot(x,y)  np.tensordot(x,y.T,1)
np.tensordot(x,y,axes=2)  np.tensordot(z,x,axes=([1,2],[0,1]))  np.tensordot(z,x,axes=(1,0))  np.tensordot(v,w,axes=0)
np.matmul(x,v)  np.matmul(z,y.T)  np.linalg.matmul(x,y.T)  np.vecdot(z,v)  np.linalg.vecdot(x,y,axis=0)  np.kron(x,s)
np.kron(v,x)  np.cross(s,w)  np.cross(x.T,w)  np.linalg.cross(s,s.T,axis=0)  np.convolve(v,w)  np.convolve(w,v,"same")
np.convolve(v,w,mode="valid")  np.correlate(v,w)  np.correlate(v,w,"full")  np.correlate(w,v,"same")  np.correlate(v,w,"same")
np.einsum("ij,kj->ik",x,y)  np.einsum("ij,kj",x,y,optimize=True)  np.einsum(x,[0,1],y,[2,1],[0,2])  np.einsum(x,[0,1],v,[1])
np.einsum("...j,j",z,v)  np.einsum(z,[...,0],v,[0],[...],optimize="greedy")
"""

LINALG = """
np.linalg.norm(x)  np.linalg.norm(v)  np.linalg.norm(z)  np.linalg.norm(v,1)  np.linalg.norm(v,inf)  np.linalg.norm(w,-inf)
np.linalg.norm(v,3)  np.linalg.norm(v,-2)  np.linalg.norm(x,axis=1)  np.linalg.norm(x,3.5,axis=0,keepdims=True)
np.linalg.norm(s,"fro")  np.linalg.norm(s,1)  np.linalg.norm(s,-1)  np.linalg.norm(s,inf)  np.linalg.norm(s,-inf)
np.linalg.norm(s,2)  np.linalg.norm(s,-2)  np.linalg.norm(s,"nuc")  np.linalg.norm(z,axis=(0,2))
np.linalg.norm(b,2,axis=(1,2))  np.linalg.norm(b,1,axis=(2,1),keepdims=True)  np.linalg.norm(x,keepdims=True)
np.linalg.vector_norm(x)  np.linalg.vector_norm(x,axis=1,ord=3)  np.linalg.matrix_norm(b)
np.linalg.matrix_norm(b,ord=1,keepdims=True)  np.linalg.solve(s,w)  np.linalg.solve(s,x)  np.linalg.solve(b,x)
np.linalg.inv(s)  np.linalg.inv(b)  np.linalg.det(s)  np.linalg.det(b)  np.linalg.slogdet(b)[1]
np.linalg.slogdet(s).logabsdet  np.linalg.cholesky(p)  np.linalg.cholesky(p,upper=True)  np.linalg.eigvalsh(b)
np.linalg.eigvalsh(p,"U")  np.linalg.eigh(b).eigenvectors  np.linalg.eigh(p)[0]  np.linalg.svd(r,full_matrices=False).S
np.linalg.svd(r,full_matrices=False)[0]  np.linalg.svd(r,full_matrices=False).Vh
np.linalg.svd(np.matrix_transpose(r),full_matrices=False)[2]  np.linalg.svd(s)[0]  np.linalg.svd(s,compute_uv=False)
np.linalg.svdvals(r)  np.linalg.pinv(r)  np.linalg.pinv(s,rcond=1e-10)  np.linalg.qr(s).Q  np.linalg.qr(r)[1]
np.linalg.qr(np.matrix_transpose(r))[1]  np.linalg.qr(r,mode="r")  np.linalg.cond(s)  np.linalg.cond(s,1)
np.linalg.cond(s,-2)  np.linalg.matrix_power(s,3)  np.linalg.matrix_power(b,-2)  np.linalg.matrix_power(s,1)
np.linalg.multi_dot([w,s,x,v])
"""

# No gradient: constants, which a program computes again.
CONSTANT = """
np.isnan(np.where(M,nan,z))  np.isinf(np.where(M,-inf,z))  np.isfinite(np.where(M,inf,z))  np.isposinf(np.where(M,inf,z))
np.isneginf(np.where(M,-inf,z))  np.signbit(z)  np.signbit(0*z)  np.isclose(x,y,atol=0.1)  np.isclose(x,y,rtol=0.3)
np.isclose(np.where(M,nan,x),np.where(M,nan,y),equal_nan=True)  np.argmax(z)  np.argmax(z,axis=1)
np.argmin(z,axis=-1,keepdims=True)  np.argmax(z,keepdims=True)  np.argmin(z)  np.argsort(z)  np.argsort(z,axis=0)
np.argsort(z,axis=None,kind="stable")  np.any(z>1)  np.any(z>1,axis=0)  np.all(z>-1,axis=(0,1))  np.all(z,keepdims=True)
np.any(z>0,axis=2,where=M)  np.count_nonzero(z>0)  np.count_nonzero(z>0,axis=1,keepdims=True)  np.round(z,1)
np.around(100*z,-1)  np.floor(z)  np.ceil(z)  np.trunc(z)  np.rint(z)  np.sign(z)  np.floor_divide(z,x)  np.zeros_like(x)
np.ones_like(z)  np.full_like(x,3.0)  np.zeros_like(x,shape=(2,))  np.imag(x)  np.logical_and(z>0,M)  np.logical_or(z>0,M)
np.logical_xor(z>0,M)  np.logical_not(z>0)  np.bitwise_and(z>0,M)  np.invert(z>0)  np.greater(z,x)  np.less_equal(z,x)
np.equal(z,z)  np.not_equal(z,x)  x==None  x!=None  np.linalg.slogdet(-b)[0]  z.argmax(1)  (z>0).any(0)  (z>0).all()
z.argsort()
"""

# Python values of shapes and dtypes, the same in every replay.
DESCRIPTIONS = """
np.shape(z)  np.ndim(z)  np.size(z)  np.size(z,1)  np.result_type(x,np.float32)  np.can_cast(x.dtype,np.float32)
np.iscomplexobj(x)  np.isrealobj(x)  np.common_type(x,y)  np.tril_indices_from(x)
"""

# Answers to Python, which a capture refuses.
ANSWERS = """
np.allclose(x,y)  np.array_equal(x,x)  np.array_equiv(x,y)  np.nonzero(z>0)  np.argwhere(z>0)  np.flatnonzero(z>0)
np.where(z>0)  np.searchsorted([0.0,0.5],x)  np.digitize(x,[0.3,0.5])  np.array_repr(x)
np.bincount((3*x).astype(int).ravel())
np.isin(x,y)  np.linalg.matrix_rank(s)
"""


def available(calls):
    """The calls of functions that this version of NumPy has."""
    return [call for call in calls.split() if all(hasattr(np, name) for name in re.findall(r"np\.(\w+)", call))]


DIFFERENTIABLE = available(ELEMENTWISE + SPECIAL + REDUCTIONS + SORTING + MOVEMENT + CONTRACTIONS + LINALG)


def parse(call):
    """Return a function of the operands that a call names, and their names."""
    code = compile(call, call, "eval")
    names = [name for name in code.co_names if name in variables()]
    return (lambda *operands: eval(code, globals(), dict(zip(names, operands, strict=True)))), names


def evaluate(call, kind=np.asarray, seed=0):
    function, names = parse(call)
    operands = variables(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*[kind(operands[name]) for name in names])


def assert_same(result, expected):
    assert isinstance(result, Tensor)
    assert result.shape == np.shape(expected)
    assert result.dtype == np.asarray(expected).dtype
    np.testing.assert_allclose(result.data, expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("call", [*DIFFERENTIABLE, *available(CONSTANT)])
def test_the_value_is_numpys(call):
    assert_same(evaluate(call, Tensor), evaluate(call))


@pytest.mark.parametrize("call", DIFFERENTIABLE)
def test_single_precision_stays(call):
    if any(word in call for word in ("float64", "float_power", "dtype=float")):
        pytest.skip("asks for double precision")
    result = evaluate(call, lambda x: Tensor(x, dtype=np.float32))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result.data, evaluate(call), rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("call", DIFFERENTIABLE)
def test_derivatives_of_orders_1_and_2(call):
    function, names = parse(call)
    check_grad(function, *[variables()[name] for name in names], order=2)


@pytest.mark.parametrize("call", [*DIFFERENTIABLE, *available(CONSTANT)])
def test_a_program_repeats_the_call_with_other_numbers(call):
    function, names = parse(call)
    traced = {name: Tensor(variables()[name]) for name in names}
    bound = capture(lambda: ({"y": function(*traced.values())}, {}), traced, {}).bind()
    bound.set_inputs(**{name: variables(1)[name] for name in names})
    np.testing.assert_allclose(bound.run()["y"], evaluate(call, seed=1), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("call", [*available(DESCRIPTIONS), *available(ANSWERS)])
def test_functions_that_answer_python_return_what_numpy_returns(call):
    result, expected = evaluate(call, lambda x: Tensor(x, requires_grad=True)), evaluate(call)
    assert type(result) is type(expected)
    np.testing.assert_equal(result, expected)


@pytest.mark.parametrize("call", available(DESCRIPTIONS))
def test_shapes_and_dtypes_are_known_inside_a_capture(call):
    function, names = parse(call)
    traced = {name: Tensor(variables()[name]) for name in names}
    seen = []

    def step():
        seen.append(function(*traced.values()))
        return {"y": next(iter(traced.values())) * 2.0}, {}

    capture(step, traced, {})
    np.testing.assert_equal(seen[-1], evaluate(call))


@pytest.mark.parametrize("call", available(ANSWERS))
def test_an_answer_to_python_is_refused_inside_a_capture(call):
    function, names = parse(call)
    traced = {name: Tensor(variables()[name]) for name in names}
    with pytest.raises(tl.CaptureError, match=r"\.data of a Tensor"):
        capture(lambda: ({"y": function(*traced.values())}, {}), traced, {})
