import datetime
import math
import re
import sys
import tracemalloc
from dataclasses import FrozenInstanceError
from decimal import Decimal
from fractions import Fraction
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fastnn._data.arrays import Targets, as_features, as_sample_weight, as_targets
from fastnn._data.prepare import split_validation
from fastnn.losses import Loss

FLOATS = [np.float32, np.float64]


SQUARED = Loss("squared_error")
HALF_SUM = Loss("sum_of_squares")
BINARY = Loss("binary_crossentropy")
SOFTMAX = Loss("softmax_crossentropy")


def table(dtype=np.float64, n=6, d=5):
    return np.arange(n * d).reshape(n, d).astype(dtype)


def features(X, dtype=np.float32, **options):
    return as_features(X, dtype=dtype, **options)


def targets(y, loss, n_rows=None, n_outputs=None, dtype=np.float32, **options):
    n_rows = len(y) if n_rows is None else n_rows
    return as_targets(y, loss=loss, n_rows=n_rows, n_outputs=n_outputs, dtype=dtype, **options)


def weights(sample_weight, n_rows, dtype=np.float32, **options):
    return as_sample_weight(sample_weight, n_rows=n_rows, dtype=dtype, **options)


def assert_kernel_form(a, dtype):
    assert type(a) is np.ndarray
    assert a.dtype == np.dtype(dtype)
    assert a.dtype.isnative
    assert a.flags.c_contiguous
    assert a.flags.aligned


class ArrayLike:
    def __init__(self, data):
        self.data = data

    def __array__(self, dtype=None, copy=None):
        return np.array(self.data, dtype=dtype)


class Unreadable:
    def __init__(self, error):
        self.error = error

    def __array__(self, dtype=None, copy=None):
        raise self.error


# Features that are taken.

UNALIGNED = np.frombuffer(b"\0" + table().tobytes(), dtype=np.uint8)[1:].view(np.float64).reshape(6, 5)

LAYOUTS = {
    "C": table(),
    "F": np.asfortranarray(table()),
    "strided": np.repeat(np.repeat(table(), 2, axis=0), 3, axis=1)[::2, ::3],
    "negative rows": table()[::-1].copy()[::-1],
    "negative both": table()[::-1, ::-1].copy()[::-1, ::-1],
    "big-endian": table().astype(">f8"),
    "little-endian": table().astype("<f8"),
    "unaligned": UNALIGNED,
    "list": table().tolist(),
    "tuple": tuple(map(tuple, table().tolist())),
    "list of arrays": list(table()),
    "objects": table().astype(object),
    "__array__": ArrayLike(table()),
    "unmasked": np.ma.masked_array(table(), mask=False),
    "broadcast": np.broadcast_to(table()[:1], (6, 5)),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_features_of_any_layout(layout, dtype):
    raw = LAYOUTS[layout]
    X = features(raw, dtype)
    assert_kernel_form(X, dtype)
    np.testing.assert_array_equal(X, np.asarray(getattr(raw, "data", raw), dtype=np.float64).reshape(6, 5))


def test_numpy_matrix(recwarn):
    X = features(np.matrix(table()))
    assert_kernel_form(X, np.float32)
    np.testing.assert_array_equal(X, table())


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("given_dtype", ["?", *"bBhHiIlLqQefdg", ">f4", ">i4", ">u2", ">f2"])
def test_features_of_any_numeric_type(given_dtype, dtype):
    X = features(table(np.dtype(given_dtype)), dtype)
    assert_kernel_form(X, dtype)
    np.testing.assert_array_equal(X, table(np.dtype(given_dtype)).astype(float))


def test_plain_numbers_of_all_sorts_in_one_list():
    row = [True, 2, 3.5, Fraction(1, 4), Decimal("0.5"), np.float16(6), np.int8(7), np.bool_(True), 10**30]
    X = features([row, row], np.float64)
    np.testing.assert_array_equal(X[0], [1, 2, 3.5, 0.25, 0.5, 6, 7, 1, 1e30])


@pytest.mark.parametrize("dtype", FLOATS)
def test_no_copy_when_the_form_is_right(dtype):
    X = table(dtype)
    assert features(X, dtype) is X
    X.flags.writeable = False
    assert features(X, dtype) is X


def test_no_copy_of_a_memory_map(tmp_path):
    path = tmp_path / "X.npy"
    np.save(path, table(np.float32))
    mapped = np.load(path, mmap_mode="r")
    X = features(mapped)
    assert_kernel_form(X, np.float32)
    assert np.shares_memory(X, mapped)


def test_checking_takes_no_memory_of_the_size_of_the_data():
    X = np.zeros((200_000, 20), np.float32)
    features(X[:1])
    tracemalloc.start()
    features(X)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < X.nbytes / 100


def test_search_for_the_bad_value_takes_little_memory():
    X = np.zeros((200_000, 20), np.float32)
    X[-1, -1] = np.nan
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"row 199999, column 19"):
        features(X)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < X.nbytes / 20


def test_data_frames():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {
            "a": [1.5, 2.5],
            "b": [True, False],
            "c": np.array([3, 4], np.int8),
            "d": pd.array([5, 6], dtype="Int64"),
            "e": pd.array([0.5, 1.5], dtype="Float32"),
            "f": pd.arrays.SparseArray([0.0, 7.0]),
        }
    )
    X = features(frame)
    assert_kernel_form(X, np.float32)
    np.testing.assert_array_equal(X, [[1.5, 1, 3, 5, 0.5, 0], [2.5, 0, 4, 6, 1.5, 7]])
    for columns in (["a"], ["a", "c"], ["b"], ["d"], ["d", "b"]):
        np.testing.assert_array_equal(features(frame[columns]), frame[columns].to_numpy(dtype=np.float32))


def test_mixed_frame_is_not_read_as_objects():
    pd = pytest.importorskip("pandas")
    n = 50_000
    frame = pd.DataFrame({f"c{i}": np.linspace(0, 1, n) for i in range(8)} | {"flag": np.arange(n) % 2 == 0})
    features(frame[:1])
    tracemalloc.start()
    features(frame)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * n * 9 * 8  # boxed numbers alone would be 24 to 32 bytes each


def test_torch_tensors():
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(features(torch.ones(2, 3)), np.ones((2, 3)))
    with pytest.raises(TypeError, match=r"X cannot be read as an array of numbers: .*detach"):
        features(torch.ones(2, 3, requires_grad=True))


def test_number_of_features():
    assert features(table(), n_features=5).shape == (6, 5)
    with pytest.raises(
        ValueError, match=r"X has 5 features \(shape \(6, 5\)\), but 4 are expected: give shape \(n, 4\)"
    ):
        features(table(), n_features=4)


# Features that are refused.


def ragged_objects():
    a = np.empty(2, object)
    a[:] = [[1, 2], [3]]
    return a


REFUSED = {
    "None": (None, TypeError, "X is None: give an array of numbers"),
    "str": ("text", TypeError, "X is a single value of type str"),
    "number": (3.0, TypeError, "X is a single value of type float.*one entry or row per sample"),
    "0-d": (np.array(3.0), TypeError, "X is a single value of type ndarray"),
    "dict": ({"a": [1]}, TypeError, "X is a single value of type dict"),
    "generator": ((x for x in [1]), TypeError, "X is a single value of type generator"),
    "text": (np.array([["a"]]), TypeError, "X holds text.*one 0/1 column per category"),
    "numbers as text": ([["1", "2"]], TypeError, "X holds text"),
    "number beside text": ([[1, "a"]], TypeError, "X holds text"),
    "bytes": (np.array([[b"1"]]), TypeError, "X holds text"),
    "text objects": (
        np.array([[1, "1.5"]], object),
        TypeError,
        r"X holds the text '1.5' at row 0, column 1: encode",
    ),
    "missing object": (
        [[1, 2], [3, None]],
        TypeError,
        "X holds None at row 1, column 1: fill or drop missing",
    ),
    "any object": ([[1, object()]], TypeError, "X holds a object object at row 0, column 1: give numbers"),
    "time span object": (
        np.array([[np.timedelta64(1, "s")]], object),
        TypeError,
        "X holds a timedelta64 object at row 0, column 0",
    ),
    "date object": ([[datetime.date(2020, 1, 1)]], TypeError, "X holds a date object at row 0, column 0"),
    "object 3-d": (np.full((1, 1, 2), None), TypeError, r"X holds None at index \(0, 0, 0\)"),
    "complex": (np.ones((2, 2), complex), TypeError, "X is complex128.*real and imaginary parts"),
    "complex objects": (np.array([[1j]], object), TypeError, "X holds a complex object"),
    "dates": (np.zeros((2, 2), "M8[s]"), TypeError, r"X is datetime64\[s\].*subtract a start"),
    "spans": (np.zeros((2, 2), "m8[s]"), TypeError, r"X is timedelta64\[s\]"),
    "structured": (np.zeros((2, 2), "f4,f4"), TypeError, r"X has dtype .*, but numbers are needed"),
    "unreadable type": (
        Unreadable(TypeError("on another device")),
        TypeError,
        "X cannot be read.*on another device",
    ),
    "unreadable value": (Unreadable(ValueError("closed file")), ValueError, "X cannot be read.*closed file"),
    "ragged": ([[1, 2], [3]], ValueError, "X is ragged: all its rows must have the same length"),
    "ragged objects": (ragged_objects(), TypeError, "X is ragged: it holds a list at row 0"),
    "1-d": (
        np.ones(4),
        ValueError,
        r"X has shape \(4,\).*reshape\(-1, 1\) makes it one feature, reshape\(1, -1\) one row",
    ),
    "3-d": (np.ones((2, 3, 4)), ValueError, r"X has shape \(2, 3, 4\).*reshape\(len\(X\), -1\)"),
    "no rows": (np.ones((0, 3)), ValueError, r"X has shape \(0, 3\) and so no rows"),
    "empty list": ([], ValueError, r"X has shape \(0,\) and so no rows"),
    "no columns": (np.ones((3, 0)), ValueError, r"X has shape \(3, 0\) and so no columns"),
    "list of an empty list": ([[]], ValueError, r"X has shape \(1, 0\) and so no columns"),
    "masked": (
        np.ma.masked_array([[1.0, 2.0]], mask=[[False, True]]),
        ValueError,
        r"X has 1 masked values: fill them with X\.filled",
    ),
    "huge integer": ([[10**400]], ValueError, "X holds a number that float64 cannot represent"),
    "signalling nan": ([[Decimal("sNaN")]], ValueError, "X holds a number that float64 cannot represent"),
    "decimal nan": ([[Decimal("NaN")]], ValueError, "X holds nan at row 0, column 0"),
}


def test_another_thread_may_be_importing_masked_arrays(monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy.ma", ModuleType("numpy.ma"))  # as far as its import has come
    np.testing.assert_array_equal(features([[1.0, 2.0]]), [[1.0, 2.0]])


@pytest.mark.parametrize("case", REFUSED)
def test_features_refused(case):
    X, error, text = REFUSED[case]
    with pytest.raises(error, match=text):
        features(X)


def test_sparse_features_are_refused():
    sparse = pytest.importorskip("scipy.sparse")
    for X in (sparse.eye_array(3), sparse.csr_matrix(np.eye(3))):
        with pytest.raises(TypeError, match=r"X is a sparse array .*give a dense one, X\.toarray\(\)"):
            features(X)


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (lambda pd: ["x", "y"], r"X holds the text 'x' at row 0, column 0"),
        (lambda pd: pd.array([1, None], dtype="Int64"), r"X holds (<NA>|nan) at row 1, column 0"),
        (lambda pd: pd.to_datetime(["2020-01-01", "2020-01-02"]), r"X is datetime64"),
        (lambda pd: pd.Categorical(["u", "v"]), r"X holds the text 'u' at row 0, column 0"),
    ],
)
def test_data_frames_refused(column, text):
    pd = pytest.importorskip("pandas")
    with pytest.raises((TypeError, ValueError), match=text):
        features(pd.DataFrame({"a": column(pd)}))


def test_missing_value_in_a_mixed_frame():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [True, False], "b": pd.array([1, None], dtype="Int64")})
    with pytest.raises(ValueError, match=r"X holds nan at row 1, column 1.*fill or drop missing values"):
        features(frame)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("given_dtype", [np.float16, np.float32, np.float64, np.longdouble])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("place", [(0, 0), (3, 2), (36, 40)])
def test_first_value_that_is_not_finite_is_named(place, order, bad, given_dtype, dtype):
    X = np.zeros((37, 41), given_dtype, order=order)
    X[place] = bad
    X[-1, -1] = np.nan if place != (36, 40) else bad
    text = rf"X holds {bad} at row {place[0]}, column {place[1]}, but all values must be finite: "
    with pytest.raises(ValueError, match=text + ("fill or drop" if math.isnan(bad) else "replace or drop")):
        features(X, dtype)


def test_not_finite_value_beyond_the_first_chunk():
    X = np.zeros((3000, 50))
    X[2345, 17] = X[2345, 18] = np.inf
    with pytest.raises(ValueError, match=r"X holds inf at row 2345, column 17"):
        features(X)


@pytest.mark.filterwarnings("error")
def test_overflow_is_named_as_such():
    X = np.zeros((3, 2))
    X[1, 1] = -1e300
    with pytest.raises(
        ValueError,
        match=r"X holds -1e\+300 at row 1, column 1, which overflows .* in float32: scale .* or use float64",
    ):
        features(X)
    assert features(X, np.float64) is X
    with pytest.raises(ValueError, match=r"X holds 1e\+39 at row 0, column 0, which overflows"):
        features([[10**39]])


@pytest.mark.skipif(
    np.finfo(np.longdouble).max <= np.finfo(np.float64).max, reason="long double is double here"
)
def test_overflow_of_long_double():
    X = np.full((1, 1), np.longdouble("1e4000"))
    with pytest.raises(ValueError, match=r"X holds 1e\+4000 .*infinity in float64: scale the values\.$"):
        features(X, np.float64)


@pytest.mark.filterwarnings("error")
def test_extremes_are_taken():
    big = np.finfo(np.float32).max
    X = np.array([[big, -big, 1e-300, 5e-324, np.finfo(np.float32).tiny]])
    assert np.isfinite(features(X)).all()
    assert features(np.full((1, 1), 2**64 - 1, np.uint64))[0, 0] == 2.0**64


def test_name_is_used():
    with pytest.raises(TypeError, match=r"^X_val is None"):
        features(None, name="X_val")
    with pytest.raises(ValueError, match=r"^X_val has 2 features"):
        features(np.ones((1, 2)), n_features=3, name="X_val")


# Features by property.

numeric_dtypes = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?"),
)


@st.composite
def tables(draw):
    """Finite tables of any numeric type, order, step and direction."""
    dtype = draw(numeric_dtypes)
    n, d = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    row_step, column_step = draw(st.sampled_from([1, 2, -1, -3])), draw(st.sampled_from([1, 3, -1, -2]))
    shape = (n * abs(row_step), d * abs(column_step))
    elements = {"allow_nan": False, "allow_infinity": False} if dtype.kind == "f" else None
    a = draw(hnp.arrays(dtype, shape, elements=elements, fill=st.nothing() if elements is None else None))
    return np.array(a, order=draw(st.sampled_from("CF")))[::row_step, ::column_step]


@given(tables(), st.sampled_from(FLOATS))
def test_any_table_becomes_what_a_cast_gives_or_overflows(X, dtype):
    before = X.copy()
    with np.errstate(all="ignore"):
        expected = X.astype(dtype)
    if np.isfinite(expected).all():
        out = features(X, dtype)
        assert_kernel_form(out, dtype)
        np.testing.assert_array_equal(out, expected)
    else:
        with pytest.raises(ValueError, match=r"which overflows to infinity in float"):
            features(X, dtype)
    np.testing.assert_array_equal(X, before)


@given(
    hnp.arrays(
        st.sampled_from([np.dtype(np.float32), np.dtype(np.float64)]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=40),
        elements=st.sampled_from([0.0, 1.0, -2.5, np.nan, np.inf, -np.inf]),
        fill=st.just(0.0),
    )
)
def test_refused_exactly_when_something_is_not_finite(X):
    bad = np.argwhere(~np.isfinite(X))
    if len(bad):
        with pytest.raises(ValueError, match=rf"at row {bad[0][0]}, column {bad[0][1]},"):
            features(X, X.dtype)
    else:
        assert features(X, X.dtype) is X


@given(hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=3))
def test_shapes_taken_are_exactly_the_filled_tables(shape):
    X = np.zeros(shape)
    if len(shape) == 2 and all(shape):
        assert features(X).shape == shape
    else:
        with pytest.raises((TypeError, ValueError), match=r"^X (has shape|is a single value)"):
            features(X)


# Targets of regression.


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("loss", [SQUARED, HALF_SUM])
@pytest.mark.parametrize("n_outputs", [None, 1])
def test_regression_of_one_output(n_outputs, loss, dtype):
    for y in ([1, 2.5, -3], np.array([[1], [2.5], [-3]]), np.array([1, 2.5, -3], object), (1, 2.5, -3)):
        out = targets(y, loss, n_outputs=n_outputs, dtype=dtype)
        assert_kernel_form(out.values, dtype)
        np.testing.assert_array_equal(out.values, [[1], [2.5], [-3]])
        assert out.labels.shape == (0,)
        assert out.labels.dtype == np.int64
        assert out.n_outputs == 1


@pytest.mark.parametrize("n_outputs", [None, 5])
def test_regression_of_several_outputs(n_outputs):
    out = targets(np.asfortranarray(table()), SQUARED, n_outputs=n_outputs)
    assert_kernel_form(out.values, np.float32)
    np.testing.assert_array_equal(out.values, table())
    assert out.n_outputs == 5


def test_no_copy_of_targets():
    y = np.arange(4, dtype=np.float32)
    y.flags.writeable = False
    assert np.shares_memory(targets(y, SQUARED).values, y)
    Y = table(np.float32)
    assert np.shares_memory(targets(Y, HALF_SUM).values, Y)
    labels = np.array([0, 1, 2])
    assert np.shares_memory(targets(labels, SOFTMAX).labels, labels)
    assert np.shares_memory(targets(labels[:, None], SOFTMAX).labels, labels)
    p = np.full((4, 2), 0.5, np.float32)
    assert np.shares_memory(targets(p, SOFTMAX).values, p)


def test_targets_are_frozen():
    out = targets([1.0], SQUARED)
    assert isinstance(out, Targets)
    with pytest.raises(FrozenInstanceError):
        out.n_outputs = 2


def test_targets_from_pandas():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [True, False], "c": [0, 2]})
    np.testing.assert_array_equal(targets(frame["a"], SQUARED).values, [[1], [2]])
    np.testing.assert_array_equal(targets(frame[["a", "b"]], SQUARED).values, [[1, 1], [2, 0]])
    np.testing.assert_array_equal(targets(frame["b"], BINARY).values, [[1], [0]])
    np.testing.assert_array_equal(targets(frame["c"], SOFTMAX).labels, [0, 2])
    np.testing.assert_array_equal(targets(frame[["c"]], SOFTMAX).labels, [0, 2])
    np.testing.assert_array_equal(targets(frame["c"].astype("category"), SOFTMAX).labels, [0, 2])


ALL_LOSSES = [SQUARED, HALF_SUM, BINARY, SOFTMAX]


@pytest.mark.parametrize("loss", ALL_LOSSES, ids=lambda loss: loss.name)
def test_length_must_fit(loss):
    text = r"y has 4 rows \(shape \(4,\)\), but there are 7 rows of features"
    with pytest.raises(ValueError, match=text):
        targets(np.zeros(4), loss, n_rows=7)
    with pytest.raises(ValueError, match=r"y has 1 rows \(shape \(1, 7\)\), but there are 7 rows"):
        targets(np.zeros((1, 7)), loss, n_rows=7)
    with pytest.raises(ValueError, match=r"y has 0 rows \(shape \(0,\)\), but there are 7 rows"):
        targets([], loss, n_rows=7)


@pytest.mark.parametrize("loss", ALL_LOSSES, ids=lambda loss: loss.name)
def test_targets_refused_whatever_the_loss(loss):
    with pytest.raises(TypeError, match=r"y is None: give an array of numbers"):
        targets(None, loss, n_rows=3)
    with pytest.raises(TypeError, match=r"y is a single value of type int"):
        targets(1, loss, n_rows=1)
    with pytest.raises(TypeError, match=r"y is complex"):
        targets(np.ones(2, complex), loss)
    with pytest.raises(TypeError, match=r"y is datetime64"):
        targets(np.zeros(2, "M8[D]"), loss)
    with pytest.raises(TypeError, match=r"y holds None at row 1"):
        targets([1, None], loss)
    with pytest.raises(ValueError, match=r"y has shape \(2, 2, 2\): give one dimension \(rows\) or two"):
        targets(np.zeros((2, 2, 2)), loss)
    with pytest.raises(ValueError, match=r"y has shape \(2, 0\) and so no columns"):
        targets(np.zeros((2, 0)), loss)
    with pytest.raises(ValueError, match=r"y is ragged"):
        targets([[1, 2], [3]], loss)
    with pytest.raises(ValueError, match=r"y has 1 masked values"):
        targets(np.ma.masked_array([1.0, 2.0], mask=[True, False]), loss)
    with pytest.raises(ValueError, match=r"y holds nan at row 1"):
        targets([0.0, np.nan, 1.0], loss)
    with pytest.raises(ValueError, match=r"y holds inf at row 2"):
        targets([0.0, 1.0, np.inf], loss)
    with pytest.raises(TypeError, match=r"^y_val is None"):
        targets(None, loss, n_rows=3, name="y_val")


@pytest.mark.parametrize("loss", [SQUARED, HALF_SUM])
def test_regression_refused(loss):
    with pytest.raises(TypeError, match=r"y holds text \(dtype <U1\): give numbers"):
        targets(["a", "b"], loss)
    with pytest.raises(ValueError, match=r"y holds nan at row 3, column 2, but all values must be finite"):
        targets(np.where(table() == 17, np.nan, 0), loss)
    with pytest.raises(ValueError, match=r"y holds 1e\+300 at row 0, which overflows to infinity in float32"):
        targets([1e300, 0], loss)
    for y in (np.zeros(4), np.zeros((4, 1)), np.zeros((4, 2))):
        shape = re.escape(str(y.shape))
        with pytest.raises(
            ValueError, match=rf"y has shape {shape}, but the net has 3 outputs: give shape \(4, 3\)\.$"
        ):
            targets(y, loss, n_outputs=3)


# Targets of binary_crossentropy.


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "y", [[0, 1, 1], [False, True, True], [0.0, 0.25, 1.0], np.array([[0], [1], [0]], np.uint8)]
)
def test_binary_targets(y, dtype):
    out = targets(y, BINARY, dtype=dtype)
    assert_kernel_form(out.values, dtype)
    np.testing.assert_array_equal(out.values, np.reshape(y, (3, 1)))
    assert (out.n_outputs, out.labels.shape) == (1, (0,))


def test_binary_targets_of_several_outputs():
    y = np.arange(10).reshape(5, 2) % 2 == 0
    out = targets(y, BINARY, n_outputs=2)
    np.testing.assert_array_equal(out.values, y)
    assert out.n_outputs == 2


def test_binary_targets_refused():
    hint = r"but binary_crossentropy needs values from 0 to 1: map labels such as -1/\+1 to 0/1.*\(y == 1\)"
    with pytest.raises(ValueError, match=r"y holds -1\.0 at row 1, " + hint):
        targets([1, -1, 1], BINARY)
    with pytest.raises(ValueError, match=r"y holds 2\.0 at row 0, .*softmax_crossentropy"):
        targets([2, 1], BINARY)
    with pytest.raises(ValueError, match=r"y holds 1\.5 at row 1, column 0"):
        targets([[0, 1], [1.5, 3]], BINARY)
    with pytest.raises(TypeError, match=r"y holds text .*np\.unique\(y, return_inverse=True\)\[1\]"):
        targets(["no", "yes"], BINARY)
    with pytest.raises(
        ValueError, match=r"y has shape \(2,\), but the net has 2 outputs: give shape \(2, 2\)\.$"
    ):
        targets([0, 1], BINARY, n_outputs=2)


# Targets of softmax_crossentropy.


@pytest.mark.parametrize(
    "y",
    [
        [0, 2, 1, 2],
        (0.0, 2.0, 1.0, 2.0),
        np.array([0, 2, 1, 2], np.uint8),
        np.array([0, 2, 1, 2], ">i4"),
        np.array([0, 2, 1, 2], np.uint64),
        np.array([0, 2, 1, 2], np.float16),
        np.array([0, 2, 1, 2], object),
        np.array([[0], [2], [1], [2]]),
        np.array([2, 1, 2, 0])[::-1],
    ],
    ids=lambda y: f"{type(y).__name__}-{getattr(y, 'dtype', '')}",
)
@pytest.mark.parametrize("n_outputs", [None, 3, 5])
def test_labels(y, n_outputs):
    out = targets(y, SOFTMAX, n_outputs=n_outputs)
    assert_kernel_form(out.labels, np.int64)
    assert out.labels.tolist() == [0, 2, 1, 2]
    assert out.n_outputs == (n_outputs or 3)
    assert out.values.shape == (0, out.n_outputs)
    assert out.values.dtype == np.float32


def test_labels_of_booleans_and_of_one_class():
    out = targets([True, False], SOFTMAX)
    assert (out.labels.tolist(), out.n_outputs) == ([1, 0], 2)
    assert targets([0, 0, 0], SOFTMAX).n_outputs == 2


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("n_outputs", [None, 3])
def test_probabilities(n_outputs, dtype):
    for y in (np.eye(3)[[0, 2, 1]], np.eye(3, dtype=bool), np.eye(3, dtype=int), np.full((4, 3), 0.3333)):
        out = targets(y, SOFTMAX, n_outputs=n_outputs, dtype=dtype)
        assert_kernel_form(out.values, dtype)
        np.testing.assert_array_equal(out.values, y.astype(dtype))
        assert (out.labels.shape, out.n_outputs) == ((0,), 3)


def test_labels_refused():
    encode = r"np\.unique\(y, return_inverse=True\)\[1\]"
    with pytest.raises(
        ValueError, match=rf"y holds the label -1 at row 2, but labels are 0, 1, 2, \.\.\.: .*{encode}"
    ):
        targets([0, 1, -1], SOFTMAX)
    with pytest.raises(
        ValueError, match=r"y holds the label -1 at row 0, but labels are 0 to 2 \(3 outputs\)"
    ):
        targets([-1, 1, 1], SOFTMAX, n_outputs=3)
    with pytest.raises(
        ValueError, match=r"y holds the label 3 at row 1, but labels are 0 to 2 \(3 outputs\)"
    ):
        targets(np.array([1, 3, 4], np.uint8), SOFTMAX, n_outputs=3)
    with pytest.raises(ValueError, match=r"y holds the label 18446744073709551615 at row 0"):
        targets(np.array([2**64 - 1], np.uint64), SOFTMAX, n_outputs=3)
    with pytest.raises(ValueError, match=r"y holds the label 300 at row 0, but labels are 0 to 299"):
        targets(np.array([300, 0], np.int16), SOFTMAX, n_outputs=300)
    with pytest.raises(
        ValueError, match=r"y holds 0\.5 at row 1, but class labels are whole numbers from 0 on"
    ):
        targets([0, 0.5], SOFTMAX)
    with pytest.raises(TypeError, match=rf"y holds text \(dtype <U3\): encode classes .*{encode}"):
        targets(["cat", "dog"], SOFTMAX)
    with pytest.raises(TypeError, match=rf"y holds the text 'cat' at row 0: encode classes .*{encode}"):
        targets(np.array(["cat", 1], object), SOFTMAX)


def test_identifiers_are_no_labels():
    for y in ([0, 2**31], np.array([1e300, 0]), np.array([2**40, 1], np.uint64)):
        with pytest.raises(
            ValueError, match=r"y holds the label \d+ at row [01], but labels are 0, 1, 2, \.\.\."
        ):
            targets(y, SOFTMAX)


def test_softmax_needs_two_outputs():
    for y in ([0, 1], np.zeros((2, 1)), np.zeros((2, 3))):
        with pytest.raises(
            ValueError, match=r"softmax_crossentropy needs at least 2 outputs.*use binary_crossentropy"
        ):
            targets(y, SOFTMAX, n_outputs=1)


def test_probabilities_refused():
    with pytest.raises(ValueError, match=r"y holds -0\.5 at row 1, column 1: .*probabilities, 0 or larger"):
        targets([[0.5, 0.5], [1.5, -0.5]], SOFTMAX)
    with pytest.raises(
        ValueError, match=r"y sums to 1\.2 in row 1: .*sum to 1 in each row; divide each row by its sum"
    ):
        targets([[0.5, 0.5], [0.6, 0.6], [0, 0]], SOFTMAX)
    with pytest.raises(ValueError, match=r"y holds nan at row 0, column 1"):
        targets([[0.5, np.nan]], SOFTMAX)
    with pytest.raises(
        ValueError,
        match=r"y has shape \(2, 2\), but .* 3 outputs: give shape \(2, 3\) or labels of shape \(2,\)",
    ):
        targets(np.full((2, 2), 0.5), SOFTMAX, n_outputs=3)


@pytest.mark.parametrize(("off", "taken"), [(9e-4, True), (-9e-4, True), (1.1e-3, False), (-1.1e-3, False)])
def test_tolerance_of_the_sum(off, taken):
    y = np.array([[0.25, 0.75], [0.5, 0.5 + off]])
    if taken:
        assert targets(y, SOFTMAX).n_outputs == 2
    else:
        with pytest.raises(ValueError, match=r"y sums to .* in row 1"):
            targets(y, SOFTMAX)


@given(
    hnp.arrays(numeric_dtypes, st.integers(1, 20), elements=st.integers(0, 1)),
    st.sampled_from(ALL_LOSSES),
    st.booleans(),
    st.sampled_from([1, 2, -1]),
    st.sampled_from(FLOATS),
)
def test_zeros_and_ones_of_any_form_suit_every_loss(y, loss, column, step, dtype):
    y = np.repeat(y, abs(step))[::step]
    before = y.copy()
    out = targets(y[:, None] if column else y, loss, dtype=dtype)
    if loss is SOFTMAX:
        assert_kernel_form(out.labels, np.int64)
        np.testing.assert_array_equal(out.labels, y)
        assert out.n_outputs == 2
    else:
        assert_kernel_form(out.values, dtype)
        np.testing.assert_array_equal(out.values[:, 0], y)
        assert out.n_outputs == 1
    np.testing.assert_array_equal(y, before)


# Weights.


@pytest.mark.parametrize("dtype", FLOATS)
def test_weights(dtype):
    assert_kernel_form(weights(None, 3, dtype), dtype)
    assert weights(None, 3, dtype).shape == (0,)
    for given_weights in ([1, 0, 2.5], np.array([1, 0, 2.5], ">f8"), np.array([2.5, 0, 1])[::-1]):
        out = weights(given_weights, 3, dtype)
        assert_kernel_form(out, dtype)
        np.testing.assert_array_equal(out, [1, 0, 2.5])
    np.testing.assert_array_equal(weights([True, False], 2, dtype), [1, 0])
    right = np.ones(3, dtype)
    assert weights(right, 3, dtype) is right


@pytest.mark.parametrize(
    ("given_weights", "error", "text"),
    [
        ([1, 2], ValueError, r"sample_weight has 2 rows \(shape \(2,\)\), but there are 3 rows of features"),
        (
            np.ones((3, 1)),
            ValueError,
            r"sample_weight has shape \(3, 1\), .*one weight a row: give shape \(3,\)",
        ),
        (2.0, TypeError, "sample_weight is a single value of type float"),
        ([1, -0.5, -1], ValueError, r"sample_weight holds -0\.5 at row 1: weights must be 0 or larger"),
        ([0, 0, 0], ValueError, "sample_weight is 0 in every row: at least one"),
        ([0, 1e-300, 0], ValueError, "sample_weight is 0 in every row"),
        ([1, np.nan, 1], ValueError, "sample_weight holds nan at row 1"),
        ([1, 1, np.inf], ValueError, "sample_weight holds inf at row 2"),
        ([1, 1, 1e300], ValueError, r"sample_weight holds 1e\+300 at row 2, which overflows"),
        (["a", "b", "c"], TypeError, "sample_weight holds text .*give numbers"),
        (np.ones(3, complex), TypeError, "sample_weight is complex"),
    ],
)
def test_weights_refused(given_weights, error, text):
    with pytest.raises(error, match=text):
        weights(given_weights, 3)


def test_name_of_weights():
    with pytest.raises(ValueError, match=r"^val_weight is 0"):
        weights([0.0], 1, name="val_weight")


# Splits.


@given(st.integers(2, 300), st.floats(0.001, 0.999), st.integers(0, 2**32))
def test_split_parts_all_rows(n_rows, fraction, seed):
    n_val = round(n_rows * fraction)
    if not 0 < n_val < n_rows:
        with pytest.raises(ValueError, match=r"both parts need at least one row"):
            split_validation(n_rows, fraction, seed)
        return
    train, val = split_validation(n_rows, fraction, seed)
    assert train.dtype == val.dtype == np.int64
    assert len(val) == n_val
    assert (np.diff(train) > 0).all()
    assert (np.diff(val) > 0).all()
    assert sorted([*train, *val]) == list(range(n_rows))


def test_split_depends_on_the_seed_alone():
    first, again, other = (split_validation(1000, 0.2, seed)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(*(split_validation(1000, 0.2, None)[1] for _ in range(2)))


def test_split_is_drawn_from_everywhere():
    hits = np.zeros(20)
    for seed in range(400):
        hits[split_validation(20, 0.25, seed)[1]] += 1
    # Binomial with mean 100 and standard deviation 8.7: five of them.
    assert np.abs(hits - 100).max() < 44


@pytest.mark.parametrize("fraction", [0, 1, 0.0, 1.0, -0.1, 1.5, math.nan, math.inf])
def test_fraction_out_of_range(fraction):
    with pytest.raises(ValueError, match=r"fraction must be (above 0 and below 1|a finite number), got"):
        split_validation(10, fraction, 0)


@pytest.mark.parametrize("fraction", [None, "0.2", True, [0.2]])
def test_fraction_of_wrong_type(fraction):
    with pytest.raises(TypeError, match=r"fraction must be a number, got"):
        split_validation(10, fraction, 0)


def test_split_with_an_empty_part():
    with pytest.raises(
        ValueError, match=r"fraction 0\.1 of 3 rows leaves 3 for training and 0 for validation"
    ):
        split_validation(3, 0.1, 0)
    with pytest.raises(
        ValueError, match=r"fraction 0\.9 of 3 rows leaves 0 for training and 3 for validation"
    ):
        split_validation(3, 0.9, 0)
    with pytest.raises(ValueError, match=r"leaves"):
        split_validation(1, 0.5, 0)


# Nothing of the caller's is changed.


@pytest.mark.parametrize("dtype", FLOATS)
def test_arguments_stay_as_they_were(dtype):
    def guarded(a):
        a = np.array(a)
        a.flags.writeable = False
        return a, a.copy()

    X, X_before = guarded(np.arange(8.0).reshape(4, 2))
    y, y_before = guarded(np.array([0, 1, 1, 0]))
    p, p_before = guarded(np.full((4, 2), 0.4999))
    w, w_before = guarded(np.array([1.0, 2.0, 0.0, 1.0]))
    features(X, dtype)
    for loss in ALL_LOSSES:
        targets(y, loss, dtype=dtype)
        targets(p, loss, dtype=dtype)
    weights(w, 4, dtype)
    for after, before in ((X, X_before), (y, y_before), (p, p_before), (w, w_before)):
        np.testing.assert_array_equal(after, before)
