"""Bad input: each either works or gives an error that names the argument, and a failed call changes nothing.

The tables below say what is given and what the error must state: the name of the argument, the value, and
(where it can be said) what would do.
"""

from __future__ import annotations

import numpy as np
import pytest
from models import bits, classifier

import fastnn
from fastnn import Callback, Dense, Model, losses
from fastnn._data.arrays import Targets
from fastnn._data.class_weight import apply_class_weight

N, D = 40, 3
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, D)).astype(np.float32)
Y = RNG.integers(0, 3, N)
T = RNG.standard_normal((N, 2)).astype(np.float32)
ONES = np.ones(N)
NAN, INF = float("nan"), float("inf")


def with_value(array, value, *place):
    new = np.array(array, np.float64)
    new[place] = value
    return new


def objects(array, value):
    new = array.astype(object)
    new.flat[4] = value
    return new


def built(make):
    """Make the same model trained a little, so that it has widths, slots and a history."""
    model = make()
    y = {"softmax_crossentropy": Y, "binary_crossentropy": T > 0}.get(model.loss.name, T)
    model.fit(X, y, epochs=2)
    return model


def refused(model, call, kind, text):
    """Check that the call fails so, and that the model is as before."""
    before, stop = bits(model), model.stop_training
    with pytest.raises(kind, match=text):
        call(model)
    assert bits(model) == before
    assert model.stop_training == stop
    return model


def short(value):
    """Name a case in the list of tests."""
    return None if callable(value) else repr(value)[:20]


states = pytest.mark.parametrize("state", [lambda make: make(), built], ids=["unbuilt", "trained"])


#  X

NO_TABLE = {
    "one dimension": (X[0], ValueError, r"X has shape \(3,\).*reshape"),
    "three dimensions": (X[None], ValueError, r"X has shape \(1, 40, 3\).*two dimensions"),
    "no rows": (X[:0], ValueError, r"X has shape \(0, 3\).*no rows"),
    "no columns": (X[:, :0], ValueError, r"X has shape \(40, 0\).*no columns"),
    "empty list": ([], ValueError, "X has shape.*no rows"),
    "list of empty lists": ([[]], ValueError, "X has shape.*no columns"),
    "None": (None, TypeError, "X is None"),
    "a number": (3.0, TypeError, "X is a single value of type float"),
    "a string": ("data.csv", TypeError, "X is a single value of type str"),
    "strings": ([["a", "b", "c"]] * N, TypeError, "X holds text"),
    "numbers in strings": (X.astype(str), TypeError, "X holds text"),
    "bytes": (X.astype("S8"), TypeError, "X holds text"),
    "a dictionary": ({"a": 1}, TypeError, "X is a single value of type dict"),
    "a function": (print, TypeError, "X is a single value of type builtin_function"),
    "a generator": ((row for row in X), TypeError, "X is a single value of type generator"),
    "ragged": ([[1.0, 2.0, 3.0], [1.0, 2.0]], ValueError, "X is ragged"),
    "nan": (with_value(X, NAN, 7, 2), ValueError, "X holds nan at row 7, column 2.*finite.*missing"),
    "infinity": (with_value(X, INF, 0, 1), ValueError, "X holds inf at row 0, column 1"),
    "minus infinity": (with_value(X, -INF, 39, 0), ValueError, "X holds -inf at row 39, column 0"),
    "beyond float32": (with_value(X, 1e39, 2, 0), ValueError, r"X holds 1e\+39 at row 2, column 0.*overflows.*float64"),
    "complex": (X + 1j, TypeError, "X is complex64.*real numbers"),
    "dates": (X.astype("M8[s]"), TypeError, r"X is datetime64\[s\]"),
    "time spans": (X.astype("m8[s]"), TypeError, r"X is timedelta64\[s\]"),
    "records": (np.zeros((N, D), [("a", float)]), TypeError, "X has dtype"),
    "None among objects": (objects(X, None), TypeError, "X holds None at row 1, column 1.*missing"),
    "text among objects": (objects(X, "?"), TypeError, "X holds the text '\\?' at row 1, column 1"),
    "a list among objects": (objects(X, [1]), TypeError, "X is ragged"),
    "an object among objects": (objects(X, object()), TypeError, "X holds a object object at row 1, column 1"),
    "masked": (np.ma.masked_less(X, 0.0), ValueError, r"X has \d+ masked values"),
}


@pytest.mark.parametrize(("given", "kind", "text"), NO_TABLE.values(), ids=NO_TABLE)
@states
def test_features(state, given, kind, text):
    model = state(classifier)
    refused(model, lambda m: m.fit(given, Y), kind, text)
    refused(model, lambda m: m.partial_fit(given, Y), kind, text)
    inside = text.replace("X ", r"validation_data\[0\] ", 1)
    refused(model, lambda m: m.fit(X, Y, validation_data=(given, Y)), kind, inside)
    if model.built:
        refused(model, lambda m: m.predict(given), kind, text)
        refused(model, lambda m: m.predict_proba(given), kind, text)
        refused(model, lambda m: m.predict_classes(given), kind, text)
        refused(model, lambda m: m.evaluate(given, Y), kind, text)
        refused(model, lambda m: m.gradient(given, Y), kind, text)


@pytest.mark.parametrize("width", [1, 2, 4, 100])
def test_another_width_than_the_model_was_built_for(width):
    model = built(classifier)
    other = np.ones((N, width), np.float32)
    text = rf"X has {width} features .* but 3 are expected: give shape \(n, 3\)"
    for call in (
        lambda m: m.fit(other, Y),
        lambda m: m.predict(other),
        lambda m: m.evaluate(other, Y),
        lambda m: m.gradient(other, Y),
    ):
        refused(model, call, ValueError, text)
    inside = rf"validation_data\[0\] has {width} features"
    refused(model, lambda m: m.fit(X, Y, validation_data=(other, Y)), ValueError, inside)
    refused(classifier(), lambda m: m.fit(X, Y, validation_data=(other, Y)), ValueError, inside)


#  y

BAD_TARGETS = {
    "softmax_crossentropy": {
        "too many": (np.r_[Y, 0], ValueError, r"y has 41 rows.*40 rows of features"),
        "too few": (Y[:-1], ValueError, "y has 39 rows"),
        "none": (Y[:0], ValueError, "y has 0 rows"),
        "label too large": (Y + 1, ValueError, r"y holds the label 3 at row \d+, but labels are 0 to 2 \(3 outputs\)"),
        "negative label": (Y - 1, ValueError, "y holds the label -1"),
        "huge label": (np.full(N, 2**63, np.uint64), ValueError, "y holds the label 9223372036854775808"),
        "halves": (Y + 0.5, ValueError, r"y holds \d.5 at row 0, but class labels are whole numbers"),
        "nan label": (with_value(Y, NAN, 3), ValueError, "y holds nan at row 3"),
        "infinite label": (with_value(Y, INF, 3), ValueError, "y holds inf at row 3"),
        "names": (np.array(["cat", "dog"])[Y % 2], TypeError, r"y holds text.*np\.unique"),
        "names in a list": (["cat"] * N, TypeError, r"y holds text.*np\.unique"),
        "None": (None, TypeError, "y is None"),
        "a number": (1, TypeError, "y is a single value"),
        "two columns": (np.eye(2)[Y % 2], ValueError, r"y has shape \(40, 2\), but the net has 3 outputs.*\(40, 3\)"),
        "no columns": (np.zeros((N, 0)), ValueError, r"y has shape \(40, 0\)"),
        "three dimensions": (np.zeros((N, 3, 1)), ValueError, r"y has shape \(40, 3, 1\)"),
        "no distribution": (np.ones((N, 3)), ValueError, r"y sums to 3 in row 0.*labels"),
        "negative probability": (np.eye(3)[Y] * 3 - 2 / 3, ValueError, "y holds -0.6.*probabilities"),
        "nan probability": (with_value(np.eye(3)[Y], NAN, 5, 1), ValueError, "y holds nan at row 5, column 1"),
        "complex": (Y + 0j, TypeError, "y is complex128"),
    },
    "binary_crossentropy": {
        "too few": (T[:-1] > 0, ValueError, "y has 39 rows"),
        "-1 and 1": (np.sign(T), ValueError, r"y holds -1\.0 at row \d+, column \d.*from 0 to 1.*-1/\+1"),
        "above 1": (with_value(T > 0, 2.0, 1, 1), ValueError, r"y holds 2\.0 at row 1, column 1"),
        "one column for two outputs": (Y > 1, ValueError, r"y has shape \(40,\), but the net has 2 outputs"),
        "three columns": (np.eye(3)[Y], ValueError, r"y has shape \(40, 3\), but the net has 2 outputs"),
        "nan": (with_value(T > 0, NAN, 1, 1), ValueError, "y holds nan at row 1, column 1"),
        "text": (np.full((N, 2), "yes"), TypeError, "y holds text"),
    },
    "squared_error": {
        "too few": (T[:-1], ValueError, "y has 39 rows"),
        "one row": (T[0], ValueError, "y has 2 rows"),
        "one column for two outputs": (T[:, 0], ValueError, r"y has shape \(40,\).*net has 2 outputs.*\(40, 2\)"),
        "transposed": (T.T, ValueError, "y has 2 rows"),
        "nan": (with_value(T, NAN, 1, 1), ValueError, "y holds nan at row 1, column 1"),
        "beyond float32": (T.astype(float) * 1e39, ValueError, "y holds .* overflows to infinity in float32"),
        "None": (None, TypeError, "y is None"),
        "None among objects": (objects(T, None), TypeError, "y holds None at row 2, column 0"),
    },
}
BAD_TARGETS["sum_of_squares"] = BAD_TARGETS["squared_error"]
TARGET_CASES = [(loss, *case) for loss, cases in BAD_TARGETS.items() for case in cases.values()]
TARGET_IDS = [f"{loss}-{name}" for loss, cases in BAD_TARGETS.items() for name in cases]


@pytest.mark.parametrize(("loss", "given", "kind", "text"), TARGET_CASES, ids=TARGET_IDS)
@states
def test_targets(state, loss, given, kind, text):
    model = state(lambda: Model([5, 3 if loss == "softmax_crossentropy" else 2], loss=loss, seed=0))
    good = {"softmax_crossentropy": Y, "binary_crossentropy": T > 0}.get(loss, T)
    refused(model, lambda m: m.fit(X, given), kind, text)
    inside = text.replace("y ", r"validation_data\[1\] ", 1)
    refused(model, lambda m: m.fit(X, good, validation_data=(X, given)), kind, inside)
    if model.built:
        refused(model, lambda m: m.evaluate(X, given), kind, text)
        refused(model, lambda m: m.gradient(X, given), kind, text)


@states
def test_features_and_targets_swapped(state):
    refused(state(classifier), lambda m: m.fit(Y, X), ValueError, r"X has shape \(40,\).*two dimensions")


def test_an_empty_list_of_layers_learns_its_width_once():
    model = Model([], loss="softmax_crossentropy", seed=0)
    text = r"validation_data\[1\] holds the label 2 at row \d+, but labels are 0 to 1"
    refused(model, lambda m: m.fit(X, Y % 2, validation_data=(X, Y)), ValueError, text)
    assert model.layers == ()
    model.fit(X, Y % 2)
    refused(model, lambda m: m.fit(X, Y), ValueError, "y holds the label 2")
    refused(model, lambda m: m.fit(X, np.eye(3)[Y]), ValueError, r"y has shape \(40, 3\), but the net has 2 outputs")


def test_targets_that_look_odd_and_work():
    for y in (np.zeros(N, bool), Y.astype(float), Y[:, None], np.full(N, 2), Y.astype(np.uint8).tolist()):
        assert np.isfinite(classifier().fit(X, y)["loss"][0])
    regression = Model([1], loss="mse", seed=0)
    for y in (T[:, 0] > 0, T[:, :1], Y.astype(np.uint8), T[:, 0].tolist()):
        assert np.isfinite(regression.fit(X, y)["loss"][0])


#  sample_weight

BAD_WEIGHTS = {
    "too few": (ONES[:-1], ValueError, "sample_weight has 39 rows"),
    "none": (ONES[:0], ValueError, "sample_weight has 0 rows"),
    "a column": (ONES[:, None], ValueError, r"sample_weight has shape \(40, 1\).*give shape \(40,\)"),
    "a number": (1.0, TypeError, "sample_weight is a single value"),
    "balanced": ("balanced", TypeError, "sample_weight is a single value of type str"),
    "by class": ({0: 1.0, 1: 2.0}, TypeError, "sample_weight is a single value of type dict"),
    "negative": (with_value(ONES, -0.5, 3), ValueError, "sample_weight holds -0.5 at row 3"),
    "nan": (with_value(ONES, NAN, 3), ValueError, "sample_weight holds nan at row 3"),
    "infinite": (with_value(ONES, INF, 3), ValueError, "sample_weight holds inf at row 3"),
    "all zero": (0 * ONES, ValueError, "sample_weight is 0 in every row"),
    "all minus zero": (-0.0 * ONES, ValueError, "sample_weight is 0 in every row"),
    "zero in float32": (ONES * 1e-50, ValueError, "sample_weight is 0 in every row"),
    "beyond float32": (ONES * 1e300, ValueError, r"sample_weight holds 1e\+300 at row 0.*overflows"),
    "huge": (ONES * 1e38, ValueError, r"sample_weight sums to 4e\+39.*divide by the mean"),
    "text": (["heavy"] * N, TypeError, "sample_weight holds text"),
}


@pytest.mark.parametrize(("given", "kind", "text"), BAD_WEIGHTS.values(), ids=BAD_WEIGHTS)
@states
def test_sample_weight(state, given, kind, text):
    model = state(classifier)
    refused(model, lambda m: m.fit(X, Y, sample_weight=given), kind, text)
    refused(model, lambda m: m.partial_fit(X, Y, sample_weight=given), kind, text)
    inside = text.replace("sample_weight", r"validation_data\[2\]", 1)
    refused(model, lambda m: m.fit(X, Y, validation_data=(X, Y, given)), kind, inside)
    if model.built:
        refused(model, lambda m: m.evaluate(X, Y, sample_weight=given), kind, text)
        refused(model, lambda m: m.gradient(X, Y, sample_weight=given), kind, text)


@states
def test_a_part_of_a_split_without_any_weight(state):
    """One row alone weighs something, so one of the two parts weighs nothing."""
    for row in range(N):
        weight = np.zeros(N)
        weight[row] = 1.0
        refused(
            state(classifier),
            lambda m: m.fit(X, Y, validation_split=0.5, sample_weight=weight),  # noqa: B023
            ValueError,
            r"sample_weight is 0 in all 20 rows that validation_split=0.5 leaves for (training|validation)",
        )


#  the other arguments of fit

BAD_ARGUMENTS = [
    *(("epochs", v, ValueError, f"epochs must be at least 1, got {v}") for v in (0, -1)),
    *(("epochs", v, TypeError, "epochs must be an integer") for v in (1.5, 2.0, True, "3", NAN, [1])),
    *(("batch_size", v, ValueError, f"batch_size must be at least 1, got {v}") for v in (0, -1)),
    *(("batch_size", v, TypeError, "batch_size must be .*integer") for v in (1.5, True, "all", NAN, np.float64(8), ())),
    *(("shuffle", v, TypeError, "shuffle must be .*True or False") for v in (1, 0, None, "yes", "batch")),
    *(("verbose", v, ValueError, "verbose must be .*'auto'") for v in (None, "no", 1.0, [])),
    *(
        ("validation_split", v, ValueError, f"validation_split must be (at least 0|a finite).*, got {float(v)!r}")
        for v in (1, 1.0, 1.5, -0.1, NAN, INF, -INF)
    ),
    *(("validation_split", v, TypeError, "validation_split must be .*number")
      for v in ("0.2", None, True, [0.2], 0.2j)),
    *(
        ("validation_split", v, ValueError, f"validation_split {v!r} of 40 rows leaves .*both parts need at least one")
        for v in (1e-9, 0.01, 0.99, 1 - 1e-9)
    ),
    *(
        ("validation_data", v, TypeError, r"validation_data must be a tuple \(X, y\) or \(X, y, sample_weight\)")
        for v in (X, (X,), (X, Y, None, None), (), "test", {"X": X}, zip(X, Y, strict=True), 0.2)
    ),
    ("validation_data", (None, None), TypeError, r"validation_data\[0\] is None"),
    ("validation_data", (X, Y[:-1]), ValueError, r"validation_data\[1\] has 39 rows"),
    ("validation_data", (X[:0], Y[:0]), ValueError, r"validation_data\[0\] has shape \(0, 3\)"),
    ("validation_data", (Y, X), ValueError, r"validation_data\[0\] has shape \(40,\)"),
    *(("max_seconds", v, ValueError, "max_seconds must be above 0") for v in (0, -1.0, NAN, -INF)),
    *(("max_seconds", v, TypeError, "max_seconds must be a number, got") for v in (True, "60", [1], 1j)),
    *(("callbacks", v, TypeError, "callbacks") for v in (5, "stop", Callback, [Callback], print, [print], [None])),
]


@pytest.mark.parametrize(("name", "value", "kind", "text"), BAD_ARGUMENTS, ids=short)
@states
def test_arguments_of_fit(state, name, value, kind, text):
    model = refused(state(classifier), lambda m: m.fit(X, Y, **{name: value}), kind, text)
    if name == "batch_size":
        refused(model, lambda m: m.partial_fit(X, Y, batch_size=value), kind, text)


@states
def test_two_ways_of_validation_at_once(state):
    refused(
        state(classifier),
        lambda m: m.fit(X, Y, validation_data=(X, Y), validation_split=0.2),
        ValueError,
        "validation_data and validation_split are both given",
    )


@states
def test_several_mistakes_at_once_and_arguments_that_do_not_exist(state):
    model = state(classifier)
    refused(model, lambda m: m.fit(X[:0], Y + 9, epochs=-1, batch_size="?"), ValueError, "epochs must be .* got -1")
    refused(model, lambda m: m.fit(X, Y, 10), TypeError, "takes only X, y by position")
    refused(model, lambda m: m.fit(X, Y, epoch=10), TypeError, "epoch")
    refused(model, lambda m: m.fit(X), TypeError, "'y'")


def test_one_row_is_not_enough_to_be_split():
    text = "validation_split 0.5 of 1 rows leaves"
    refused(classifier(), lambda m: m.fit(X[:1], Y[:1], validation_split=0.5), ValueError, text)


def test_a_bar_without_its_library(monkeypatch):
    monkeypatch.setattr("fastnn._training.progress._in_notebook", lambda: True)
    monkeypatch.setitem(__import__("sys").modules, "tqdm.auto", None)
    refused(classifier(), lambda m: m.fit(X, Y, verbose=True), ImportError, r'pip install "fastnn-mlp\[progress\]"')
    classifier().fit(X, Y)


#  making a model

BAD_MODELS = [
    *(
        ("layers", v, TypeError, "layers must be a sequence")
        for v in (None, "128", b"1", 128, 1.5, Dense(3), Dense, {3}, {}, print)
    ),
    *(("layers", v, TypeError, r"layers\[0\]") for v in ([1.5], [None], ["3"], [True], [[4, 3]], [Dense], [(4,)])),
    *(("layers", v, ValueError, r"layers\[\d\] must be at least 1") for v in ([0], [-1, 3], [4, 0])),
    ("layers", np.array([4.0, 3.0]), TypeError, r"layers\[0\]"),
    ("layers", np.array([[4, 3]]), TypeError, r"layers\[0\]"),
    ("layers", [Dense(4, "softmax"), 3], ValueError, r"layers\[0\] has the activation softmax"),
    ("layers", [4, 1], ValueError, "last layer has 1 unit.*binary_crossentropy"),
    *(("loss", v, TypeError, "loss must be a name") for v in (None, 5, ["mse"], losses.Loss, print, np.mean)),
    *(("loss", v, ValueError, f"loss must be one of .*, got '{v}'") for v in ("", "MSX", "hinge", "softmax")),
    *(("optimizer", v, TypeError, "optimizer must be") for v in (None, fastnn.Adam, 0.1, {"lr": 0.1}, ["adam"])),
    *(("optimizer", v, ValueError, f"optimizer must be one of .*, got '{v}'") for v in ("adm", "")),
    *(("regularizer", v, TypeError, "regularizer must be") for v in (fastnn.L2, 0.1, 0, ["l2"])),
    *(("regularizer", v, ValueError, "regularizer must be one of") for v in ("l3", "")),
    *(("metrics", v, TypeError, "metric") for v in (5, len, [None], [5], [len], [float])),
    *(("metrics", v, ValueError, "metric") for v in ("accc", ["mse"], ["accuracy", "auc"])),
    *(("seed", v, TypeError, "seed must be .*integer or None") for v in (1.5, "0", True, RNG, [0], NAN)),
    *(("seed", v, ValueError, r"seed must be at (least 0|most 2\*\*63 - 1)") for v in (-1, 2**63, np.uint64(2**63))),
    *(
        ("dtype", v, ValueError, "dtype must be .*'float32', 'float64' or 'mixed_bfloat16'")
        for v in (None, "float16", int, "int32", ">f4", "x", {}, [], "f4,f4", object(), np.complex64, "longdouble")
    ),
    *(("n_threads", v, TypeError, "n_threads must be .*integer") for v in (1.5, "2", True, 2.0, [])),
    *(("n_threads", v, ValueError, "n_threads must be at least 1") for v in (0, -1)),
]


@pytest.mark.parametrize(("name", "value", "kind", "text"), BAD_MODELS, ids=short)
def test_arguments_of_a_model(name, value, kind, text):
    arguments = {"layers": [4, 3], "loss": "softmax_crossentropy", **{name: value}}
    with pytest.raises(kind, match=text):
        Model(arguments.pop("layers"), **arguments)


def test_layers_of_an_array_without_dimensions():
    with pytest.raises(TypeError, match="layers must be a sequence"):
        Model(np.array(3), loss="mse")


def test_losses_and_layers_that_contradict_each_other():
    with pytest.raises(ValueError, match=r"'softmax' while the loss is 'binary_crossentropy'.*softmax_crossentropy"):
        Model([Dense(3, "softmax")], loss="binary_crossentropy")
    with pytest.raises(ValueError, match="'accuracy' needs a loss of classification"):
        Model([3], loss="mse", metrics=["accuracy"])
    refused(Model([], loss="softmax_crossentropy"), lambda m: m.build(3, 1), ValueError, "at least 2")


def test_a_model_that_is_not_built():
    for call in (
        lambda m: m.predict(X),
        lambda m: m.predict_proba(X),
        lambda m: m.predict_classes(X),
        lambda m: m.evaluate(X, Y),
        lambda m: m.gradient(X, Y),
    ):
        refused(classifier(), call, ValueError, "no weights yet: call fit, or build")


#  what comes from the neighbours


def test_sparse_matrices():
    sparse = pytest.importorskip("scipy.sparse")
    refused(classifier(), lambda m: m.fit(sparse.csr_array(X), Y), TypeError, r"X is a sparse array.*toarray\(\)")


def test_data_frames():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abc"))
    model = built(classifier)
    refused(model, lambda m: m.fit(frame.assign(d="text"), Y), (TypeError, ValueError), "X holds the text 'text'")
    refused(model, lambda m: m.fit(frame.mask(frame > 2), Y), ValueError, "X holds nan")
    refused(model, lambda m: m.fit(frame, pandas.Series(["a", "b"] * 20)), TypeError, "y holds")
    refused(model, lambda m: m.predict(frame[["a", "b"]]), ValueError, "X has 2 features")
    refused(model, lambda m: m.predict(frame["a"]), ValueError, r"X has shape \(40,\)")


def test_objects_whose_conversion_fails():
    class Broken:
        def __array__(self, dtype=None, copy=None):
            raise TypeError("no array today")

    refused(classifier(), lambda m: m.fit(Broken(), Y), TypeError, "X cannot be read as an array.*no array today")


@pytest.mark.parametrize("optimizer", [fastnn.Adam, fastnn.RMSProp, fastnn.AdaGrad])
def test_an_epsilon_that_the_dtype_rounds_to_zero_is_refused(optimizer):
    with pytest.raises(ValueError, match=r"epsilon=1e-60.*float32"):
        fastnn.Model([1], loss="mse", optimizer=optimizer(1e-3, epsilon=1e-60))
    model = fastnn.Model([1], loss="mse", optimizer=optimizer(1e-3, epsilon=1e-60), dtype="float64")
    before = model.optimizer
    assert before.epsilon == 1e-60
    single = fastnn.Model([1], loss="mse")
    kept = single.optimizer
    with pytest.raises(ValueError, match="epsilon"):
        single.optimizer = optimizer(1e-3, epsilon=1e-60)
    assert single.optimizer is kept


#  other arguments, and what is not finite


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, 2, 70, 5000])
def test_predictions_that_are_not_finite_are_warned_of(dtype, rows):
    model = Model([4, 2], loss="squared_error", seed=0, dtype=dtype).build(D)
    huge = np.tile(X[:1].astype(dtype), (rows, 1))
    model.predict(huge)
    huge[-1] = np.finfo(dtype).max / 2
    with pytest.warns(RuntimeWarning, match="predict returned NaN or infinity for finite X.*Scale X"):
        outputs = model.predict(huge)
    assert outputs.shape == (rows, 2)
    assert np.isfinite(outputs[:-1]).all()
    assert not np.isfinite(outputs[-1]).all()
    with pytest.warns(RuntimeWarning, match="evaluate found a loss that is not finite"):
        assert not np.isfinite(model.evaluate(huge, np.zeros((rows, 2)))["loss"])


def test_probabilities_that_are_not_finite_are_warned_of():
    model = Model([4, 3], loss="softmax_crossentropy", seed=0).build(D)
    model.weights[0][...] = -1e30
    with pytest.warns(RuntimeWarning, match="predict returned NaN or infinity"):
        model.predict_proba(np.full((2, D), -3e38, np.float32))


@pytest.mark.parametrize(
    ("name", "value", "kind", "text"),
    [
        ("history", None, TypeError, "history must be a fastnn.History, got None"),
        ("stop_training", None, TypeError, "stop_training must be True or False, got None"),
        ("trainable", np.array(True), (TypeError, ValueError), "trainable must be a bool for each"),
    ],
)
def test_attributes_that_are_set(name, value, kind, text):
    refused(built(classifier), lambda model: setattr(model, name, value), kind, text)


@pytest.mark.parametrize("snapshot", [None, (), (np.zeros(3), np.zeros(3)), "x", [np.zeros(3)] * 2])
def test_what_is_no_snapshot(snapshot):
    refused(built(classifier), lambda model: model.restore(snapshot), TypeError, "snapshot must be what")


def test_arguments_of_other_methods():
    model = built(classifier)
    refused(model, lambda one: one.summary(print_fn=5), TypeError, "print_fn must be a function .*, got 5")
    refused(model, lambda one: one.flops_per_row(training=1), TypeError, "training must be True or False, got 1")
    for layers in (None, 5, np.array(1)):
        refused(model, lambda one, layers=layers: one.replace_head(layers), TypeError, "layers must be a sequence")
    for path in ("a\0b", "\ud800" * 3):
        for call in (model.save, fastnn.load):
            with pytest.raises(ValueError, match="path must be a path that the file system can encode"):
                call(path)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: losses.get("entropy"), "Did you mean 'binary_crossentropy' or 'softmax_crossentropy'"),
        (lambda: losses.get("squared"), "Did you mean 'squared_error'"),
        (lambda: Dense(3, "Tahn"), "Did you mean 'tanh'"),
        (lambda: fastnn.optimizers.get("Adam-X"), "Did you mean 'adam"),
        (lambda: Model([(64, "relu"), 3], loss="mse"), r"layers\[0\] must be .*Use Dense\(64, 'relu'\)"),
        (lambda: fastnn.LearningRateScheduler(int), "schedule must be a function .*, got <class 'int'>"),
        (lambda: fastnn.Adam(10**400), "learning_rate must be a finite number, got int of 1329 bits"),
        (lambda: Dense(10**5000), r"units must be at most 2\*\*63 - 1, got int of 16610 bits"),
        (lambda: Dense(unprintable()), "units must be an integer of at least 1, got <NoRepr instance"),
    ],
)
def test_errors_that_lead_to_what_is_valid(call, text):
    with pytest.raises((TypeError, ValueError), match=text):
        call()


def unprintable():
    class NoRepr:
        def __repr__(self):
            raise KeyError("no repr")

    return NoRepr()


def test_labels_that_another_thread_changes_are_no_index_error():
    targets = Targets(np.empty((0, 3)), Y.copy(), 3)
    targets.labels[5] = 10**6  # valid when it was checked
    loss = losses.get("softmax_crossentropy")
    with pytest.raises(ValueError, match="y was written to by another thread during the call"):
        apply_class_weight(
            "balanced", targets=targets, sample_weight=np.empty(0), index=None, loss=loss, dtype=np.float32
        )
