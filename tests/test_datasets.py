import zlib
from pathlib import Path

import numpy as np
import pytest

import fastnn.datasets
from fastnn.datasets import Digits, load_digits

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
