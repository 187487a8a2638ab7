"""What a plot makes of nets and rows that are odd: a picture, or an error that names the argument."""

from __future__ import annotations

import io

import numpy as np
import pytest
from models import bits

import fastnn
from fastnn import Dense, Model, plot
from fastnn.callbacks import Snapshots

pytest.importorskip("matplotlib")

X = np.random.default_rng(0).uniform(-1.0, 1.0, (30, 2))
Y = (X[:, 0] * X[:, 1] > 0).astype(np.int64)

#: Pictures of a net and its rows.
PICTURES = {
    "network": lambda model, X, y: plot.network(model, X),
    "decision_boundary": lambda model, X, y: plot.decision_boundary(model, X, y, resolution=5),
    "hidden_space": lambda model, X, y: plot.hidden_space(model, X, y),
    "hidden_space of 3": lambda model, X, y: plot.hidden_space(model, X, y, layer=0, dimensions=3),
    "deformation": lambda model, X, y: plot.deformation_animation(model, X, y, frames=2).draw(-1),
}
#: Pictures of a net alone.
PICTURES_OF_WEIGHTS = {
    "network": plot.network, "weights": lambda model: plot.weights(model, (1, model.n_features)),
}  # fmt: skip


def trained(n_features=2, layers=(4, 2), n_outputs=2, y=Y, **options):
    """A net after three epochs, its snapshots and its rows."""
    options = {"loss": "softmax_crossentropy", "seed": 0, **options}
    rows = np.random.default_rng(1).uniform(-1.0, 1.0, (30, n_features))
    snapshots = Snapshots()
    model = Model([*(Dense(n, "tanh") for n in layers), n_outputs], **options)
    model.fit(rows, y, epochs=3, callbacks=snapshots, verbose=False)
    return model, snapshots, rows


@pytest.mark.filterwarnings("ignore:predict returned NaN")
@pytest.mark.parametrize("picture", PICTURES)
def test_weights_that_are_not_finite(picture):
    model, _, rows = trained()
    model.weights[0][0, 0] = np.nan
    before = bits(model)
    with pytest.raises(ValueError, match=r"model must be one with finite (weights|outputs|predictions), got 'NaN or "):
        PICTURES[picture](model, rows, Y)
    assert bits(model) == before


@pytest.mark.parametrize("picture", PICTURES_OF_WEIGHTS)
def test_weights_that_are_not_finite_are_not_drawn(picture):
    model, _, _ = trained()
    model.weights[0][1, 1] = np.nan
    with pytest.raises(ValueError, match="model must be one with finite weights, got 'NaN or infinity'"):
        PICTURES_OF_WEIGHTS[picture](model)


def test_predictions_that_overflow():
    model = Model([Dense(4, "relu"), Dense(1)], loss="squared_error", seed=0).build(2)
    model.weights = [1e30 * w for w in model.weights]
    with (
        pytest.warns(RuntimeWarning, match="predict returned NaN or infinity"),
        pytest.raises(ValueError, match="model must be one with finite predictions"),
    ):
        plot.decision_boundary(model, X, X[:, 0], resolution=5)


@pytest.mark.parametrize("picture", ["decision_boundary", "hidden_space"])
def test_a_class_in_place_of_an_object(picture):
    with pytest.raises(TypeError, match=r"model must be .*, got <class"):
        PICTURES[picture](Model, X, Y)


@pytest.mark.parametrize(
    ("rows", "y", "text"),
    [
        (X, Y[:-1], "y has 29 rows"),
        (X, None, "y is None"),
        (None, Y, "X is None"),
        (X[:0], Y[:0], "X has shape .0, 2. and so no rows"),
        (X[:, :1], Y, "X has 1 features"),
        (np.where(X[3, 1] == X, np.nan, X), Y, "X holds nan at row 3, column 1"),
    ],
)
def test_rows_of_a_descent(rows, y, text):
    model, snapshots, _ = trained()
    with pytest.raises((TypeError, ValueError), match=text):
        plot.descent_animation(model, snapshots, rows, y, frames=2, resolution=3)


def test_the_place_of_a_number_that_is_not_finite():
    model, _, rows = trained()
    rows[3, 1] = np.nan
    with pytest.raises(ValueError, match=r"X must be finite, got nan\. It is in row 3, column 1"):
        plot.decision_boundary(model, rows, Y)


def test_a_descent_that_diverges_does_not_warn():
    """Of the surface around huge weights, most losses are infinite."""
    snapshots = Snapshots()
    model = Model([Dense(8, "relu"), 1], loss="squared_error", optimizer=fastnn.SGD(50.0), seed=0)
    with pytest.raises(fastnn.DivergenceError):
        model.fit(X, Y, epochs=10, callbacks=snapshots, verbose=False)
    assert snapshots[-1].loss > 1e10
    film = plot.descent_animation(model, snapshots, X, Y, frames=2, resolution=5)
    film.draw(-1).savefig(io.BytesIO())


def test_a_descent_of_an_estimator():
    pytest.importorskip("sklearn")
    labels, snapshots = np.array(["no", "yes"])[Y], Snapshots()
    fitted = fastnn.MLPClassifier(hidden_layer_sizes=(4,), max_iter=5, random_state=0, callbacks=[snapshots], tol=0.0)
    with pytest.warns(match="Stochastic Optimizer"):
        fitted.fit(X, labels)
    film = plot.descent_animation(fitted, snapshots, X, labels, frames=2, resolution=3)
    assert "epoch" in film.draw(-1).axes[0].get_title(loc="left")


def test_one_weight_without_bias():
    model = Model([Dense(1, use_bias=False)], loss="squared_error", seed=0)
    snapshots = Snapshots()
    model.fit(X[:, :1], X[:, 0], epochs=3, callbacks=snapshots, verbose=False)
    ax = plot.loss_surface(model, X[:, :1], X[:, 0], path=snapshots, resolution=5).axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("weight", "loss")
    model = Model([Dense(1, use_bias=False)], loss="squared_error", seed=0)
    model.fit(X, X[:, 0], epochs=3, callbacks=snapshots, verbose=False)
    ax = plot.loss_surface(model, X, X[:, 0], path=snapshots, resolution=5).axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("weight", "second weight")


def test_weights_at_which_the_loss_is_the_same_everywhere():
    model, _, rows = trained(dtype="float64")
    model.weights = [1e30 * w for w in model.weights]
    plot.loss_surface(model, rows, Y, resolution=5).savefig(io.BytesIO())


@pytest.mark.parametrize("n_features", [1, 2, 3])
@pytest.mark.parametrize("layers", [(4, 2), (1,)])
def test_rows_of_all_kinds(n_features, layers, dtype):
    model, _, rows = trained(n_features, layers, dtype=dtype)
    rows.setflags(write=False)
    made = [plot.network(model, rows), plot.hidden_space(model, rows.tolist(), Y.tolist())]
    made.append(plot.hidden_space(model, np.asfortranarray(rows), np.zeros(30, int)))  # one class only
    if n_features < 3:
        made.append(plot.decision_boundary(model, rows.astype(np.float32), Y, resolution=5))
    else:
        with pytest.raises(ValueError, match="X must be of one or two columns"):
            plot.decision_boundary(model, rows, Y)
    for figure in made:
        figure.savefig(io.BytesIO())


def test_nets_that_were_not_trained():
    model = Model([Dense(3, "tanh"), 2], loss="softmax_crossentropy", seed=0)
    for picture in PICTURES.values():
        with pytest.raises(ValueError, match="the model has no weights yet"):
            picture(model, X, Y)
    model.build(2)
    for picture in PICTURES.values():
        picture(model, X, Y).savefig(io.BytesIO())
