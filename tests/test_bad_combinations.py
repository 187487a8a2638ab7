"""Settings that are valid alone and inconsistent together: each raises, and changes nothing.

The tables say what is combined and what the error must state: the name of the argument, the value, and what would
do. Single arguments out of their range are in test_bad_input.py, those of the estimators in test_estimators.py.
"""

from __future__ import annotations

import numpy as np
import pytest
from models import classifier, regressor

import fastnn
from fastnn import (
    Adam,
    Augmentation,
    Dense,
    Dropout,
    EarlyStopping,
    LearningRateScheduler,
    Model,
    ModelCheckpoint,
    ReduceLROnPlateau,
    losses,
    schedules,
)

N, D = 40, 3
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, D)).astype(np.float32)
Y = RNG.integers(0, 3, N)
T = RNG.standard_normal((N, 2)).astype(np.float32)
SHARES = np.full((N, 3), 1 / 3)


def difference(u, t):
    return (u - t) ** 2


def difference_slope(u, t):
    return 2 * (u - t)


def square(z):
    return z * z


def square_slope(z):
    return 2 * z


OWN_LOSS = fastnn.custom.loss(difference, difference_slope)
OWN_ACTIVATION = fastnn.custom.activation(square, square_slope)


def bits(model):
    """All that a model is, whether it is built or not."""
    state = model.__getstate__()
    return repr(state["header"]), {name: array.tobytes() for name, array in state["arrays"].items()}


# ------------------------------------------------------------------------------------------ making a Model

MODELS = {
    # metrics and losses
    "accuracy of a regression": ({"loss": "huber", "metrics": ["accuracy"]}, "'accuracy' .* got loss='huber'. Use"),
    "accuracy of an own loss": ({"loss": OWN_LOSS, "metrics": ["accuracy"]}, "'accuracy' .* loss='difference'. Use"),
    "r2 of classes": ({"loss": "binary_crossentropy", "metrics": ["r2"]}, "'r2' .*loss='binary_cross.*Use 'accuracy'"),
    "errors of logarithms": (
        {"loss": "poisson", "metrics": ["mse"]},
        "'mean_squared_error' .*'poisson'.* Leave it out",
    ),
    "errors of quantiles": ({"loss": "quantile", "metrics": ["mae"]}, "'mean_absolute_error' .*'quantile'.* Leave it"),
    "r2 of means and variances": ({"loss": "gaussian_nll", "metrics": ["r2"]}, "'r2' .*'gaussian_nll'.* Leave it out"),
    "one name twice": (
        {"metrics": ["mse", fastnn.metrics.Metric("mean_squared_error", difference)]},
        "metrics has 2 of the name 'mean_squared_error'; use .*another_name",
    ),
    # losses and last layers
    **{
        f"{name} under {loss}": (
            {"loss": loss, "layers": [5, Dense(2, name)]},
            f"activation '{name}' while the loss is '{loss}'.* use 'identity' or '{own}'",
        )
        for loss, own, names in (
            ("softmax_crossentropy", "softmax", ("sigmoid", "relu", "tanh")),
            ("binary_crossentropy", "sigmoid", ("relu", "tanh", "hard_sigmoid", "exponential")),
            ("poisson", "exponential", ("relu", "softplus", "softmax", "sigmoid")),
        )
        for name in names
    },
    "softmax of single bits": (
        {"loss": "binary_crossentropy", "layers": [Dense(2, "softmax")]},
        "'softmax' while the loss is 'binary_crossentropy'.*use loss='softmax_crossentropy'",
    ),
    "softmax of one unit": ({"layers": [5, Dense(1, "softmax")]}, "'softmax', .* 1 unit and .*: use 'identity'"),
    "softmax of quantiles": (
        {"loss": "quantile", "layers": [Dense(2, "softmax")]},
        "'softmax', .*'quantile': use 'ide",
    ),
    "one logit": ({"loss": "softmax_crossentropy", "layers": [5, 1]}, "1 unit, .*use loss='binary_crossentropy'"),
    "widths and quantiles": ({"loss": losses.quantile(0.1, 0.5, 0.9)}, "has 2 units, but 'quantile' needs 3"),
    "widths and variances": ({"loss": "gaussian_nll", "layers": [3]}, "has 3 units, but 'gaussian_nll' needs 2"),
    "bounded logarithms": ({"loss": "gaussian_nll", "layers": [Dense(2, "tanh")]}, "'tanh', but .* needs 'identity'"),
    # solvers and what they minimise
    "lm and cross-entropy": (
        {"loss": "binary_crossentropy", "optimizer": "lm"},
        "LevenbergMarquardt.*loss is 'binary_crossentropy': use optimizer='lbfgs', or loss=",
    ),
    "lm and huber": ({"loss": "huber", "optimizer": "lm"}, "LevenbergMarquardt.*loss is 'huber': use"),
    "lm and an own loss": ({"loss": OWN_LOSS, "optimizer": "lm"}, "LevenbergMarquardt.*loss is 'difference': use"),
    "lbfgs and l1": ({"optimizer": "lbfgs", "regularizer": "l1"}, "LBFGS.*regularizer has l1=0.01, .*use L2, or"),
    "lm and l1": ({"optimizer": "lm", "regularizer": fastnn.L1L2(0.1, 0.1)}, "Levenberg.* l1=0.1, .*use L2, or"),
    # numbers that the dtype rounds to 0
    "clipvalue": ({"optimizer": Adam(clipvalue=1e-60)}, "clipvalue=1e-60, which is 0 in float32; give at least"),
    "global_clipnorm": ({"optimizer": Adam(global_clipnorm=1e-60)}, "global_clipnorm=1e-60, which is 0 in float32"),
    # dropout
    "dropout of outputs": ({"layers": [5, Dense(2), Dropout(0.5)]}, r"layers\[2\], .*rate=0.5.*is the last"),
    "dropout twice": ({"layers": [Dropout(0.5), Dense(2, dropout=0.1)]}, r"layers\[1\] has dropout=0.1 .*: give one"),
}


@pytest.mark.parametrize(("settings", "match"), MODELS.values(), ids=MODELS)
def test_models(settings, match):
    with pytest.raises(ValueError, match=match):
        regressor(**settings)


#: Words by themselves.
WORDS = {
    "label smoothing of squares": (
        lambda: losses.Loss("mse", label_smoothing=0.1),
        "label_smoothing.*squared_error.*0.1",
    ),
    "delta of squares": (
        lambda: losses.Loss("mse", delta=1.0),
        "delta has no meaning for squared_error, got 1.0. Leave",
    ),
    "quantiles of huber": (lambda: losses.Loss("huber", quantiles=(0.5,)), "quantiles have no meaning for huber"),
    "two limits": (
        lambda: Adam(clipvalue=1, global_clipnorm=2),
        "clipvalue=1.0 and global_clipnorm=2.0 are both given",
    ),
    "nesterov without momentum": (lambda: fastnn.SGD(nesterov=True), "needs a momentum above 0, .* Try momentum=0.9"),
}


@pytest.mark.parametrize(("make", "match"), WORDS.values(), ids=WORDS)
def test_words(make, match):
    with pytest.raises(ValueError, match=match):
        make()


# ----------------------------------------------------------------------------------------------- training

SAVED = "would/never/be/written.npz"
FROZEN = {"layers": [Dense(5, trainable=False), Dense(2, trainable=False)]}

#: Model, arguments of fit, text of the error.
FITS = {
    # solvers and options
    "lbfgs and dropout": (
        lambda: classifier(layers=[Dropout(0.1), 5, 3], optimizer="lbfgs"),
        {"y": Y},
        "LBFGS.*remove dropout, or use an optimizer such as 'adam'",
    ),
    "lm and dropout": (
        lambda: regressor(layers=[Dense(5, dropout=0.1), 2], optimizer="lm"),
        {},
        "remove dropout, or",
    ),
    "lm and max_norm": (
        lambda: regressor(layers=[Dense(5, max_norm=1.0), 2], optimizer="lm"),
        {},
        "remove max_norm",
    ),
    "lm and own functions": (
        lambda: regressor(layers=[Dense(5, OWN_ACTIVATION), 2], optimizer="lm"),
        {},
        "dtype='float64'",
    ),
    "lbfgs and batches": (lambda: regressor(optimizer="lbfgs"), {"batch_size": 7}, "batch_size is 7, but .*give None"),
    "lm and augmentation": (
        lambda: regressor(optimizer="lm"),
        {"augmentation": Augmentation(noise=0.1)},
        r"augmentation is Augmentation\(.*LevenbergM.*leave augmentation out, or take",
    ),
    "lbfgs and mixup": (
        lambda: regressor(optimizer="lbfgs"),
        {"augmentation": Augmentation(mixup=0.1)},
        r"augmentation is Augmentation\(.*LBFGS.*leave augmentation out, or take",
    ),
    "lm and too little memory": (
        lambda: regressor(optimizer=fastnn.LevenbergMarquardt(max_memory=1000)),
        {},
        "optimizer='lm' needs .*use optimizer='lbfgs'",
    ),
    # callbacks and solvers, schedules, data
    "lbfgs and plateaus": (
        lambda: regressor(optimizer="lbfgs"),
        {"callbacks": ReduceLROnPlateau("loss")},
        "ReduceLROnPlateau .*LBFGS has none: leave the callback out",
    ),
    "lm and a scheduler": (
        lambda: regressor(optimizer="lm"),
        {"callbacks": LearningRateScheduler(lambda k, lr: lr)},
        "LearningRateScheduler .*LevenbergMarquardt has none: leave the callback out",
    ),
    "schedule and plateaus": (
        lambda: regressor(optimizer=Adam(schedules.Cosine(0.1, epochs=3))),
        {"callbacks": ReduceLROnPlateau("loss")},
        "ReduceLROnPlateau .*learning_rate=Cosine.*leave the callback out, or give the optimizer a",
    ),
    "function and scheduler": (
        lambda: regressor(optimizer=Adam(lambda epoch: 0.1)),
        {"callbacks": LearningRateScheduler(lambda k, lr: lr)},
        "LearningRateScheduler .*learning_rate=<function.*leave the callback out, or",
    ),
    "stopping without validation": (
        regressor,
        {"callbacks": EarlyStopping()},
        "monitor='val_loss', which is missing: this training has loss.* Give validation_data or",
    ),
    "plateaus without validation": (
        regressor,
        {"callbacks": ReduceLROnPlateau()},
        "monitor='val_loss', which is missing.*Give valid",
    ),
    "checkpoints of a metric that is none": (
        regressor,
        {"callbacks": ModelCheckpoint(SAVED, monitor="val_accuracy", save_best_only=True), "validation_split": 0.2},
        "ModelCheckpoint has monitor='val_accuracy', which is missing: this training has loss, val_loss",
    ),
    "checkpoints of functions": (
        lambda: regressor(layers=[Dense(5, OWN_ACTIVATION), 2]),
        {"callbacks": ModelCheckpoint(SAVED)},
        "activation 'square' is a custom function",
    ),
    "checkpoints of an own loss": (
        lambda: regressor(loss=OWN_LOSS),
        {"callbacks": ModelCheckpoint(SAVED)},
        "loss 'difference' is a custom function",
    ),
    "checkpoints of a rate": (
        lambda: regressor(optimizer=Adam(lambda epoch: 0.1)),
        {"callbacks": ModelCheckpoint(SAVED)},
        "learning_rate=<function.*schedules",
    ),
    "two best weights": (
        regressor,
        {"callbacks": [EarlyStopping("loss"), fastnn.TerminateOnNaN(), EarlyStopping("loss")]},
        r"callbacks\[0\] and callbacks\[2\] are both EarlyStopping .*restore_best_weights=False",
    ),
    "a callback twice": (
        regressor,
        {"callbacks": [fastnn.TerminateOnNaN()] * 2},
        r"callbacks\[1\] is callbacks\[0\] once more",
    ),
    # class weights
    "class weights of a regression": (
        regressor,
        {"class_weight": {0: 1.0}},
        "class_weight .*'squared_error'. Use sample",
    ),
    "class weights of an own loss": (
        lambda: regressor(loss=OWN_LOSS),
        {"class_weight": "balanced"},
        "class_weight .*loss='difference'. Use sample_weight",
    ),
    "class weights of several labels": (
        lambda: regressor(loss="binary_crossentropy"),
        {"y": T > 0, "class_weight": "balanced"},
        "class_weight .*2 columns .*Use sample_w",
    ),
    "class weights of shares": (
        classifier,
        {"y": SHARES, "class_weight": "balanced"},
        r"class_weight .*y is \[0.33.* at row 0: give labels",
    ),
    "class weights of smoothed shares": (
        lambda: classifier(loss=losses.softmax_crossentropy(0.1)),
        {"y": SHARES, "class_weight": "balanced"},
        r"y is \[0.33.* at row 0: give labels",
    ),
    "class weights of other labels": (
        classifier,
        {"y": Y, "class_weight": {3: 1.0}},
        "keys of class_weight must be labels, 0 to 2, got 3",
    ),
    # targets and losses
    "negative counts": (lambda: regressor(loss="poisson"), {}, "y holds -.*poisson needs counts of 0 or more"),
    "targets and variances": (
        lambda: regressor(loss="gaussian_nll"),
        {},
        r"y has shape \(40, 2\), .*give shape \(40, 1\)",
    ),
    "labels beyond bits": (
        lambda: regressor(loss="binary_crossentropy", layers=[1]),
        {"y": Y},
        "y holds 2.0 .*use softmax_crossentropy",
    ),
    # nothing to train
    "frozen": (lambda: regressor(**FROZEN), {}, "all layers are frozen. Set model.trainable first"),
    "frozen, with a solver": (
        lambda: regressor(**FROZEN, optimizer="lm"),
        {},
        "all layers are frozen. Set model.trainable",
    ),
}


@pytest.mark.parametrize("built", [False, True], ids=["unbuilt", "built"])
@pytest.mark.parametrize(("make", "given", "match"), FITS.values(), ids=FITS)
def test_fits(make, given, match, built):
    model = make()
    if built:
        model.build(D)
    given = dict(given)
    before = bits(model)
    with pytest.raises((TypeError, ValueError, MemoryError), match=match):
        model.fit(X, given.pop("y", T), epochs=3, **given)
    assert model.built == built
    assert bits(model) == before
    assert not model.history.epoch


def frozen_later():
    model = regressor().build(D)
    model.trainable = [False, False]
    return model


CALLS = {
    "lbfgs and pieces": (
        lambda m: m.partial_fit(X, T),
        lambda: regressor(optimizer="lbfgs"),
        "partial_fit .*optimizer=LBFGS.*call fit with all data, or",
    ),
    "lm and batches": (
        lambda m: m.train_on_batch(X, T),
        lambda: regressor(optimizer="lm"),
        "train_on_batch .*optimizer=LevenbergMarquardt.*call fit with all data, or",
    ),
    "lbfgs and rates": (lambda m: m.lr_find(X, T), lambda: regressor(optimizer="lbfgs"), "LBFGS.*fastnn.Adam"),
    "frozen batch": (lambda m: m.train_on_batch(X, T), lambda: regressor(**FROZEN), "all layers are frozen"),
    "frozen batch later": (lambda m: m.train_on_batch(X, T), frozen_later, "all layers are frozen"),
    "frozen pieces": (lambda m: m.partial_fit(X, T), lambda: regressor(**FROZEN), "all layers are frozen"),
    "frozen rates": (lambda m: m.lr_find(X, T), lambda: regressor(**FROZEN), "all layers are frozen"),
    "rates of a batch": (
        lambda m: m.train_on_batch(X, T),
        lambda: regressor(optimizer=Adam(lambda epoch: -1.0)),
        "learning_rate=.* in epoch 0 must be finite and at least 0, got -1.0",
    ),
    "class weights of a batch": (
        lambda m: m.train_on_batch(X, T, class_weight="balanced"),
        regressor,
        "class_weight .*Use sample_weight",
    ),
    "solver and loss": (
        lambda m: setattr(m, "optimizer", "lm"),
        classifier,
        "LevenbergMarquardt.*use optimizer='lbfgs'",
    ),
    "solver and penalty": (
        lambda m: setattr(m, "optimizer", "lbfgs"),
        lambda: regressor(regularizer="l1"),
        "LBFGS.*l1=0.01.*use L2, or",
    ),
    "penalty and solver": (
        lambda m: setattr(m, "regularizer", "l1"),
        lambda: regressor(optimizer="lm"),
        "l1=0.01.*use L2",
    ),
    "too few flags": (lambda m: setattr(m, "trainable", [True]), regressor, r"trainable must .*2 layers, got \(True"),
    "one flag": (lambda m: setattr(m, "trainable", False), regressor, r"trainable must be .*2 layers, got \(False,\)"),
    "no flags": (
        lambda m: setattr(m, "trainable", [1, 0]),
        regressor,
        r"trainable must be a bool for each of .*, got \(1, 0\)",
    ),
    "probabilities of values": (
        lambda m: m.predict_proba(X),
        lambda: regressor().build(D),
        "'squared_error' and .*Use predict",
    ),
    "classes of counts": (
        lambda m: m.predict_classes(X),
        lambda: regressor(loss="poisson").build(D),
        "'poisson' and .*Use pred",
    ),
    "head of nothing learnt": (lambda m: m.replace_head([3]), regressor, "no weights yet: call fit, or build"),
    "head that keeps nothing": (
        lambda m: m.replace_head([3], n_replaced=2),
        lambda: regressor().build(D),
        "n_replaced is 2, but of the 2 layers at least one must be kept",
    ),
    "head and loss": (
        lambda m: m.replace_head([Dense(3, "relu")], loss="softmax_crossentropy"),
        lambda: regressor().build(D),
        "'relu' while the loss is 'softmax_crossentropy'",
    ),
}


@pytest.mark.parametrize(("call", "make", "match"), CALLS.values(), ids=CALLS)
def test_other_calls(call, make, match):
    model = make()
    built, before, optimizer = model.built, bits(model), model.optimizer
    with pytest.raises((TypeError, ValueError), match=match):
        call(model)
    assert model.built == built
    assert bits(model) == before
    assert model.optimizer is optimizer


def test_a_model_without_layers_is_unchanged_by_an_invalid_fit():
    model = Model([], loss="squared_error", seed=0)
    with pytest.raises(ValueError, match="val_loss"):
        model.fit(X, T, callbacks=EarlyStopping())
    assert model.layers == ()
    model.fit(X, T[:, 0])
    assert model.n_outputs == 1


def test_an_error_after_the_first_epoch_takes_nothing_back():
    def fail(epoch, logs):
        raise ValueError("enough")

    for optimizer in ("adam", "lbfgs"):
        model = regressor(optimizer=optimizer)
        with pytest.raises(ValueError, match="enough"):
            model.fit(X, T, epochs=3, callbacks=fastnn.LambdaCallback(on_epoch_end=fail))
        assert model.built
        assert model.history.epoch == [0]


# --------------------------------------------------------------------------------- what does make sense


@pytest.mark.parametrize("kind", ["labels", "one-hot", "bits"])
def test_class_weights_and_label_smoothing(kind):
    """Smoothing spreads the targets, and the class is still known."""
    weight = np.array([1.0, 5.0, 1.0])[Y]
    if kind == "bits":
        make, y, weight = lambda: regressor(loss=losses.binary_crossentropy(0.1), layers=[5, 1]), Y == 1, weight
    else:
        make = lambda: classifier(loss=losses.softmax_crossentropy(0.1))  # noqa: E731
        y = Y if kind == "labels" else np.eye(3)[Y]
    by_class = make().fit(X, y, epochs=2, class_weight={1: 5.0})
    by_row = make().fit(X, y, epochs=2, sample_weight=weight)
    assert by_class["loss"] == by_row["loss"]
    assert by_class["loss"] != make().fit(X, y, epochs=2)["loss"]


def test_mixtures_suit_every_loss():
    augmentation = Augmentation(mixup=0.2)
    counts = RNG.poisson(2.0, (N, 2))
    for model, y in (
        (regressor(), T),
        (regressor(loss=losses.quantile(0.1, 0.9)), T[:, 0]),
        (regressor(loss="gaussian_nll"), T[:, 0]),
        (regressor(loss="poisson"), counts),
        (regressor(loss="binary_crossentropy"), T > 0),
        (classifier(loss=losses.softmax_crossentropy(0.1)), Y),
        (regressor(loss=OWN_LOSS), T),
    ):
        assert np.isfinite(model.fit(X, y, augmentation=augmentation)["loss"][0])
