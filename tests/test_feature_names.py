"""Columns of data frames: a model that was trained with names refuses others, and another order."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest
from models import classifier, labels, table

import fastnn

pd = pytest.importorskip("pandas")
NAMES = ["a", "b", "c"]


def frame(names=NAMES, n=20):
    return pd.DataFrame(table(n), columns=names)


def copies(model):
    """Return the model, and copies of it through memory and a file."""
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    return model, copy.deepcopy(model), pickle.loads(pickle.dumps(model)), fastnn.load(file)


@pytest.mark.parametrize("train", ["fit", "partial_fit", "train_on_batch"])
def test_another_order_is_refused(train):
    model, y = classifier(), labels(20)
    getattr(model, train)(frame(), y)
    other = frame()[["a", "c", "b"]]
    for one in copies(model):
        np.testing.assert_array_equal(one.predict(frame()), one.predict(frame().to_numpy()))
        for call in (one.predict, one.predict_proba, lambda X, one=one: one.evaluate(X, y),
                     lambda X, one=one: one.fit(X, y), lambda X, one=one: one.gradient(X, y)):  # fmt: skip
            with pytest.raises(ValueError, match=r"column 1 of X must be 'b', as in the fit, got 'c'\. They are in"):
                call(other)
        with pytest.raises(ValueError, match=r"column 2 of X must be 'c', as in the fit, got 'd'\. There is no 'c'\."):
            one.predict(frame(["a", "b", "d"]))
        one.predict(other[NAMES])
        one.predict(other.to_numpy())
        one.fit(table(20), y)  # without names nothing is known of the order
    with pytest.raises(ValueError, match=r"column 0 of validation_data\[0\] must be 'a'"):
        model.fit(frame(), y, validation_data=(frame(["c", "b", "a"]), y))
    with pytest.raises(ValueError, match=r"column 0 of validation_data\[0\] must be 'a'"):
        classifier().fit(frame(), y, validation_data=(frame(["c", "b", "a"]), y))


def test_names_are_learned_when_there_are_some():
    model, y = classifier(), labels(20)
    model.fit(table(20), y)
    model.predict(frame(["x", "y", "z"]))
    model.fit(frame(), y)
    with pytest.raises(ValueError, match="column 0 of X must be 'a'"):
        model.predict(frame(["x", "y", "z"]))


def test_a_failed_fit_leaves_no_names():
    model = classifier()
    with pytest.raises(ValueError, match="labels are 0 to 2"):
        model.fit(frame(["x", "y", "z"]), np.full(20, 7))
    model.fit(table(20), labels(20))
    model.predict(frame(NAMES))


def test_columns_that_are_numbers_have_no_names():
    model, y = classifier(), labels(20)
    model.fit(pd.DataFrame(table(20)), y)
    model.predict(pd.DataFrame(table(20), columns=[2, 0, 1]))
    model.predict(frame())


def test_a_file_with_wrong_names_is_refused(tmp_path):
    from fastnn._persistence import npz

    model = classifier()
    model.fit(frame(), labels(20))
    model.save(tmp_path / "a.npz")
    header, arrays = npz.read(tmp_path / "a.npz")
    assert header["feature_names"] == NAMES
    for wrong in (["a"], [1, 2, 3], "abc"):
        npz.write(tmp_path / "b.npz", header | {"feature_names": wrong}, arrays)
        with pytest.raises(ValueError, match="feature_names must be a list of 3 names"):
            fastnn.load(tmp_path / "b.npz")
    del header["feature_names"]  # a file of an earlier version
    npz.write(tmp_path / "c.npz", header, arrays)
    fastnn.load(tmp_path / "c.npz").predict(frame(["x", "y", "z"]))
