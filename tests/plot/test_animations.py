"""Films: what their frames hold, and the files that they are written into."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from models import bits

import fastnn
from fastnn import Dense, Model
from fastnn.callbacks import Snapshots

pytest.importorskip("matplotlib")
pytest.importorskip("PIL")

from matplotlib.animation import FFMpegWriter
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgb
from PIL import Image

from fastnn import plot
from fastnn._figure.style import background_of, rgb, text_colour
from fastnn.plot import _descent_animation
from fastnn.plot._animation import chosen
from fastnn.plot._gif import write_gif

X = np.random.default_rng(0).uniform(-1.0, 1.0, (80, 2))
XOR = ((X[:, 0] > 0) ^ (X[:, 1] > 0)).astype(np.int64)
QUADRANTS = 2 * (X[:, 0] > 0) + (X[:, 1] > 0)
SMALL = {"frames": 5, "resolution": 25}


def trained(layers, y, *, every=20, epochs=200, X=X, **options):
    """A trained net and its snapshots."""
    snapshots = Snapshots(every)
    options = {"loss": "softmax_crossentropy", "optimizer": fastnn.Adam(0.03), "seed": 2, **options}
    model = Model([*(Dense(n, "tanh") for n in layers[:-1]), layers[-1]], **options)
    model.fit(X, y, epochs=epochs, callbacks=snapshots, verbose=False)
    return model, snapshots


@pytest.fixture(scope="module")
def xor():
    """A net of two hidden units in its last hidden layer that has learnt XOR."""
    made = trained([8, 2, 2], XOR, epochs=500, every=50)
    assert made[0].evaluate(X, XOR)["accuracy"] == 1.0
    return made


def points(figure):
    """Coordinates of the points of all classes, in the order of the classes; (n, 2)."""
    drawn = [one.get_offsets() for one in figure.axes[0].collections if isinstance(one, PathCollection)]
    return np.concatenate([np.asarray(one, float) for one in drawn])


def classes_at(figure, places):
    """Classes in whose colour the areas behind some places are; (n,)."""
    image = figure.axes[0].images[0]
    left, right, bottom, top = image.get_extent()
    pixels = np.asarray(image.get_array(), float)[..., :3]
    shape = np.array(pixels.shape[1::-1])
    where = ((places - (left, bottom)) / (right - left, top - bottom) * (shape - 1)).round().astype(int)
    where = where.clip(0, shape - 1)
    seen = pixels[where[:, 1], where[:, 0]]
    towards = np.array([to_rgb(colour) for colour in plot.COLORS[:4]]) - 1.0
    away = (seen - 1.0) @ (towards / np.linalg.norm(towards, axis=1, keepdims=True)).T
    return away.argmax(axis=1)


def ordered(y):
    """Classes of the rows in the order in which the classes are drawn."""
    return np.sort(y, kind="stable")


# -------------------------------------------------------------------------------------------------------- files


def test_a_gif_has_all_frames_and_repeats(xor, tmp_path):
    film = plot.boundary_animation(*xor, X, XOR, fps=10, **SMALL)
    film.save(tmp_path / "film.gif")
    with Image.open(tmp_path / "film.gif") as image:
        assert image.n_frames == len(film) == 5
        assert image.size == (500, 400)
        assert image.info["loop"] == 0
        durations, seen = [], []
        for k in range(5):
            image.seek(k)
            durations.append(image.info["duration"])
            seen.append(np.asarray(image.convert("RGB"), np.int64))
    assert durations == [100, 100, 100, 100, 1600]
    for first, second in itertools.pairwise(seen):
        assert np.abs(first - second).max() > 50
    assert (seen[0][0, -1] == 255).all()  # the background itself


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_gif_has_the_colours_of_the_house_exactly(theme, tmp_path):
    """The paths cover few pixels beside the grey areas, whose shades would take all places of the palette."""
    runs = {name: trained([4, 2], XOR, every=1, epochs=10, optimizer=name) for name in ("sgd", "momentum", "adam")}
    with plot.style(theme):
        film = plot.descent_animation(
            runs["sgd"][0], {name: run[1] for name, run in runs.items()}, X, XOR, frames=4, resolution=11
        )
    film.save(tmp_path / "film.gif")
    drawn = film._pixels(-1).reshape(-1, 3)
    with Image.open(tmp_path / "film.gif") as image:
        image.seek(len(film) - 1)
        stored = np.asarray(image.convert("RGB")).reshape(-1, 3)
    exact = [background_of(film.figure.axes[0]), rgb(text_colour(film.figure.axes[0])), *map(rgb, plot.COLORS[:3])]
    for colour in exact:
        where = (drawn == np.round(255 * colour)).all(axis=1)
        assert where.sum() > 20
        np.testing.assert_array_equal(stored[where], drawn[where])
    assert np.abs(stored.astype(int) - drawn).mean() < 2.0
    assert 20 < len(np.unique(stored, axis=0)) <= 96


def test_a_gif_of_flat_colours(tmp_path):
    """Where all pixels have colours that are kept, there are no mixtures."""
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    frames[1, 2:4] = 255
    write_gif(tmp_path / "film.gif", lambda k: frames[k], 2, 10, [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.5, 0.5, 0.5)])
    with Image.open(tmp_path / "film.gif") as image:
        for k in range(2):
            image.seek(k)
            np.testing.assert_array_equal(np.asarray(image.convert("RGB")), frames[k])


@pytest.mark.slow
def test_a_gif_of_sixty_frames_is_small(tmp_path):
    model, snapshots = trained([16, 2], XOR, every=2, epochs=200)
    plot.boundary_animation(model, snapshots, X, XOR).save(tmp_path / "film.gif")
    assert 60_000 < (tmp_path / "film.gif").stat().st_size < 1_500_000
    with Image.open(tmp_path / "film.gif") as image:
        assert image.n_frames == 60


def test_a_page_and_a_notebook(xor, tmp_path):
    film = plot.boundary_animation(*xor, X, XOR, **SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        film.save(tmp_path / "film.html")
        shown = film._repr_html_()
    text = (tmp_path / "film.html").read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    for html in (text, shown):
        assert html.count("data:image/png;base64") == 5
        assert "<script" in html
    assert len(shown) < 1_000_000


@pytest.mark.skipif(not FFMpegWriter.isAvailable(), reason="ffmpeg is not installed")
def test_a_video(xor, tmp_path):
    plot.boundary_animation(*xor, X, XOR, **SMALL).save(tmp_path / "film.MP4")
    assert b"ftyp" in (tmp_path / "film.MP4").read_bytes()[:16]


def test_without_ffmpeg(xor, tmp_path, monkeypatch):
    monkeypatch.setattr(FFMpegWriter, "isAvailable", classmethod(lambda cls: False))
    with pytest.raises(RuntimeError, match=r"ffmpeg.*apt install ffmpeg.*save a \.gif"):
        plot.boundary_animation(*xor, X, XOR, **SMALL).save(tmp_path / "film.mp4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["film", "film.png", "film.gif.txt", ".gif"])
def test_a_suffix_that_is_unknown(xor, tmp_path, name):
    with pytest.raises(ValueError, match=r"path must be a name that ends in \.gif, \.mp4 or \.html, got "):
        plot.boundary_animation(*xor, X, XOR, **SMALL).save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_leaves_the_old_file(xor, tmp_path, monkeypatch):
    film = plot.boundary_animation(*xor, X, XOR, **SMALL)
    target = tmp_path / "film.gif"
    target.write_bytes(b"old")
    monkeypatch.setattr(film, "_pixels", lambda frame: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        film.save(target)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(OSError, match="no-such-folder"):
        film.save(tmp_path / "no-such-folder" / "film.gif")


def test_single_frames_and_the_text(xor):
    film = plot.boundary_animation(*xor, X, XOR, fps=20, **SMALL)
    assert repr(film) == "<Animation of 5 frames, 20 per second>"
    assert film.draw(-1) is film.figure
    assert film.figure.axes[0].get_title(loc="left").startswith("epoch 500, loss ")
    for wrong in (5, -6):
        with pytest.raises(IndexError):
            film.draw(wrong)
    assert len(film.draw(2).axes[0].images) == 1  # what the frame before drew is gone


@pytest.mark.parametrize(("n", "most"), [(2, 2), (3, 60), (60, 60), (61, 60), (1000, 60)])
def test_chosen_frames(n, most):
    found = chosen(range(n), most)
    assert found == sorted(set(found))
    assert found[0] == 0
    assert found[-1] == n - 1
    assert len(found) == min(n, most)


# -------------------------------------------------------------------------------------------------- the boundary


def test_the_boundary_moves_until_it_separates(xor):
    model, snapshots = xor
    before = bits(model)
    film = plot.boundary_animation(model, snapshots, X, XOR, frames=60, resolution=60, class_names=["same", "other"])
    assert len(film) == len(snapshots) == 11
    shares = []
    for k, snapshot in enumerate(snapshots):
        figure = film.draw(k)
        title = figure.axes[0].get_title(loc="left")
        assert title == (f"epoch {snapshot.epoch}" + (f", loss {snapshot.loss:.4f}" if k else ""))
        shares.append((classes_at(figure, points(figure)) == ordered(XOR)).mean())
    assert shares[0] < 0.8
    assert shares[-1] > 0.97  # points on the line itself are within a pixel of both areas
    assert [text.get_text() for text in figure.axes[0].get_legend().texts] == ["same", "other"]
    assert bits(model) == before


def test_four_classes():
    model, snapshots = trained([8, 4], QUADRANTS)
    figure = plot.boundary_animation(model, snapshots, X, QUADRANTS, frames=3, resolution=100).draw(-1)
    right = model.evaluate(X, QUADRANTS)["accuracy"]
    assert (classes_at(figure, points(figure)) == ordered(QUADRANTS)).mean() == pytest.approx(right, abs=0.05)


def test_values():
    y = X[:, 0] * X[:, 1]
    model, snapshots = trained([8, 1], y, loss="squared_error", dtype="float64")
    film = plot.boundary_animation(model, snapshots, X, y, **SMALL)
    shown = [np.asarray(film.draw(k).axes[0].images[0].get_array(), float) for k in (0, -1)]
    axes = [np.linspace(low, high, 25) for low, high in zip(X.min(0), X.max(0), strict=True)]
    wanted = np.multiply.outer(axes[1], axes[0])
    before, after = (np.corrcoef(one.ravel(), wanted.ravel())[0, 1] for one in shown)
    assert before < 0.9 < after


def test_weights_of_snapshots_are_shown_where_predictions_use_an_average():
    plain, snapshots = trained([8, 2], XOR)
    averaged, _ = trained([8, 2], XOR, optimizer=fastnn.Adam(0.03, ema_momentum=0.999))
    films = [plot.boundary_animation(model, snapshots, X, XOR, **SMALL) for model in (plain, averaged)]
    first, second = (np.asarray(film.draw(-1).axes[0].images[0].get_array()) for film in films)
    np.testing.assert_array_equal(first, second)


def test_an_estimator_and_names_of_columns():
    pandas = pytest.importorskip("pandas")
    frame, labels = pandas.DataFrame(X, columns=["width", "height"]), np.array(["no", "yes"])[XOR]
    snapshots = Snapshots(5)
    net = fastnn.MLPClassifier((8,), max_iter=200, learning_rate_init=0.03, random_state=0, callbacks=[snapshots])
    with pytest.warns(UserWarning, match="Maximum iterations"):
        net.fit(frame, labels)
    film = plot.boundary_animation(net, snapshots, frame, labels, frames=4, resolution=100)
    figure = film.draw(-1)
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("width", "height")
    assert [text.get_text() for text in figure.axes[0].get_legend().texts] == ["no", "yes"]
    score = (classes_at(figure, points(figure)) == ordered(XOR)).mean()
    assert score == pytest.approx(net.score(frame, labels), abs=0.05)
    assert len(plot.hidden_space_animation(net, snapshots, frame, labels, frames=4)) == 4


# ----------------------------------------------------------------------------------------------- the hidden space


def test_the_hidden_space_unfolds_until_a_line_separates_it(xor):
    model, snapshots = xor
    film = plot.hidden_space_animation(model, snapshots, X, XOR)
    places, shares, limits = [], [], set()
    for k in range(len(film)):
        figure = film.draw(k)
        ax = figure.axes[0]
        limits.add((*ax.get_xlim(), *ax.get_ylim()))
        places.append(points(figure))
        shares.append((classes_at(figure, places[-1]) == ordered(XOR)).mean())
    assert len(limits) == 1
    for before, after in itertools.pairwise(places):
        assert np.abs(after - before).max() > 1e-3
    assert shares[0] < 0.8
    assert shares[-1] > 0.97
    np.testing.assert_allclose(places[-1], model.hidden(X, -2)[np.argsort(XOR, kind="stable")], atol=1e-6)
    assert film.figure.axes[0].get_xlabel() == "hidden unit 1"


def test_principal_components_are_the_same_in_all_frames():
    model, snapshots = trained([8, 2], XOR, every=3, epochs=150)
    film = plot.hidden_space_animation(model, snapshots, X, XOR)
    places = [points(film.draw(k)) for k in range(len(film))]
    moves = [np.abs(b - a).max() for a, b in itertools.pairwise(places)]
    span = np.ptp(np.concatenate(places), axis=0).max()
    assert max(moves) < 0.2 * span  # no component changes its sign
    assert max(moves) > 0.0
    assert film.figure.axes[0].get_xlabel().startswith("component 1 (")


@pytest.mark.parametrize(("layers", "layer"), [([1, 2], -2), ([3, 4, 2], 0), ([2, 3, 1], 0), ([5, 2], -1)])
def test_layers_of_all_kinds(layers, layer):
    loss = "softmax_crossentropy" if layers[-1] == 2 else "binary_crossentropy"
    model, snapshots = trained(layers, XOR, epochs=40, loss=loss)
    film = plot.hidden_space_animation(model, snapshots, X, XOR, layer=layer, frames=3)
    first = points(film.draw(0))
    assert np.abs(points(film.draw(-1)) - first).max() > 1e-3


def test_the_hidden_space_of_a_regression():
    y = X[:, 0] * X[:, 1]
    model, snapshots = trained([2, 1], y, loss="squared_error")
    film = plot.hidden_space_animation(model, snapshots, X, y, frames=3)
    np.testing.assert_allclose(points(film.draw(-1)), model.hidden(X, 0), atol=1e-6)


# ---------------------------------------------------------------------------------------------------- descent


@pytest.fixture(scope="module")
def line():
    """Trainings of a line, whose two weights are the plane itself."""
    x = np.linspace(-1.0, 1.0, 40)[:, None]
    y = 2.0 * x[:, 0] - 1.0
    films = {}
    for name, optimizer in (("SGD", fastnn.SGD(0.1)), ("Adam", fastnn.Adam(0.1))):
        films[name] = Snapshots()
        model = Model([1], loss="squared_error", optimizer=optimizer, seed=0)
        model.fit(x, y, epochs=30, callbacks=films[name])
    return model, films, x, y


def heads(figure):
    """The heads of the paths by name."""
    return {text.get_text(): np.array(text.xy) for text in figure.axes[0].texts}


def test_heads_go_from_the_start_to_the_end(line):
    model, films, x, y = line
    before = bits(model)
    film = plot.descent_animation(model, films, x, y, frames=7, resolution=9)
    assert len(film) == 7
    for k, at in ((0, 0), (3, 15), (6, 30)):
        figure = film.draw(k)
        found = heads(figure)
        assert list(found) == ["SGD", "Adam"]
        for name, snapshots in films.items():
            wanted = [snapshots[at].weights[0][0, 0], snapshots[at].biases[0][0]]
            np.testing.assert_allclose(found[name], wanted, rtol=1e-6)
    best = min(films, key=lambda name: films[name][-1].loss)
    title = figure.axes[0].get_title(loc="left")
    assert title == f"epoch 30: {best} leads with a loss of {films[best][-1].loss:.3g}"
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("weight", "bias")
    assert bits(model) == before


def test_the_surface_is_the_loss(line, monkeypatch):
    model, films, x, y = line
    seen = []
    contour = _descent_animation._draw_surface
    monkeypatch.setattr(_descent_animation, "_draw_surface", lambda *args: seen.append(args) or contour(*args))
    plot.descent_animation(model, films, x, y, frames=2, resolution=5)
    ((_, axes, surface),) = seen
    for i, b in enumerate(axes[1]):
        for j, w in enumerate(axes[0]):
            assert surface[i, j] == pytest.approx(np.mean((w * x[:, 0] + b - y) ** 2), rel=1e-4)


def test_names_do_not_overlap_where_all_begin(line):
    model, films, x, y = line
    figure = plot.descent_animation(model, films, x, y, frames=5, resolution=5).draw(0)
    figure.draw_without_rendering()
    first, second = (text.get_window_extent() for text in figure.axes[0].texts)
    assert not first.overlaps(second)


@pytest.mark.parametrize("layers", [[4, 2], [8, 4, 2]])
def test_a_slice_of_a_net(layers):
    films = {name: trained(layers, XOR, every=5, epochs=60, optimizer=name)[1] for name in ("adam", "rmsprop", "sgd")}
    model, _ = trained(layers, XOR, epochs=1)
    film = plot.descent_animation(model, films, X, XOR, frames=4, resolution=7)
    assert "% of the way" in film.figure.axes[0].get_xlabel()
    first, last = heads(film.draw(0)), heads(film.draw(-1))
    assert max(np.abs(first[a] - first[b]).max() for a in films for b in films) < 1e-4
    assert all(np.abs(last[name] - first[name]).max() > 1e-3 for name in films)


def test_a_single_training_has_no_name(line):
    model, films, x, y = line
    film = plot.descent_animation(model, films["SGD"], x, y, frames=3, resolution=5)
    assert film.draw(-1).axes[0].get_title(loc="left") == f"epoch 30, loss {films['SGD'][-1].loss:.4g}"


# ------------------------------------------------------------------------------------------------ deformation


def test_steps_of_a_layer_are_those_of_the_net():
    net = Model([Dense(2, "tanh"), 2], loss="softmax_crossentropy", seed=1, optimizer=fastnn.Adam(0.03))
    net.fit(X, XOR, epochs=100)
    film = plot.deformation_animation(net, X, XOR, frames=4)
    order = np.argsort(XOR, kind="stable")
    z, b = X @ net.weights[0], net.biases[0]
    wanted = [X, z, z + b, np.tanh(z + b)]
    titles = {}
    for k in range(len(film)):
        figure = film.draw(k)
        titles.setdefault(figure.axes[0].get_title(loc="left"), []).append((k, points(figure)))
    names = list(titles)
    steps = ("linear map", "shift by the biases", "tanh")
    assert names[:4] == ["the data", *(f"hidden layer: {step}" for step in steps)]
    for name, place in zip(names[:4], wanted, strict=False):
        found = titles[name][-1][1] if name != names[3] else points(film.draw(-1))
        np.testing.assert_allclose(found, place[order], atol=1e-5)
    halfway = titles["hidden layer: linear map"][1][1]  # frame 2 of 4, of a motion that is even about its middle
    np.testing.assert_allclose(halfway, ((X + z) / 2)[order], atol=1e-5)


def test_at_the_end_a_line_separates_the_classes(xor):
    model, _ = xor
    before = bits(model)
    film = plot.deformation_animation(model, X, XOR, frames=3)
    figure = film.draw(-1)
    assert figure.axes[0].get_title(loc="left") == "a line separates all classes"
    assert (classes_at(figure, points(figure)) == ordered(XOR)).mean() > 0.97
    (grid,) = (one for one in film.draw(0).axes[0].collections if isinstance(one, LineCollection))
    assert len(grid.get_segments()) == 30
    assert bits(model) == before


def test_points_move_a_little_from_frame_to_frame(xor):
    film = plot.deformation_animation(xor[0], X, XOR, frames=20)
    shares = []
    for k in range(len(film)):
        ax = film.draw(k).axes[0]
        shares.append((points(ax.figure) - ax.get_xlim()[0]) / np.ptp(ax.get_xlim()))
    moves = [np.abs(b - a).max() for a, b in itertools.pairwise(shares)]
    assert max(moves) < 0.2


def test_other_nets_are_deformed():
    rng = np.random.default_rng(0)
    wide = rng.standard_normal((60, 5))
    labels = rng.integers(0, 3, 60)
    for layers, y, loss in (([1, 2], XOR[:60], None), ([6, 3, 3], labels, None), ([4, 1], wide[:, 0], "squared_error")):
        model, _ = trained(layers, y, X=wide, epochs=20, loss=loss or "softmax_crossentropy")
        film = plot.deformation_animation(model, wide, y, frames=2)
        assert np.abs(points(film.draw(-1)) - points(film.draw(0))).max() > 1e-3


# -------------------------------------------------------------------------------------------- invalid arguments


def test_invalid_arguments(xor, line):
    model, snapshots = xor
    other = trained([3, 2], XOR, epochs=5)[0]
    boundary, hidden, deform = plot.boundary_animation, plot.hidden_space_animation, plot.deformation_animation
    descent = plot.descent_animation
    cases = [
        (lambda: boundary("net", snapshots, X, XOR), TypeError, "model must be a fastnn.Model"),
        (lambda: boundary(model, 3, X, XOR), TypeError, "snapshots must be a callbacks.Snapshots"),
        (lambda: boundary(model, [1, 2], X, XOR), TypeError, "snapshots must be a callbacks.Snapshots"),
        (lambda: boundary(model, Snapshots(), X, XOR), ValueError, "at least two snapshots, got 0"),
        (lambda: boundary(model, snapshots[:1], X, XOR), ValueError, "at least two snapshots, got 1"),
        (lambda: boundary(other, snapshots, X, XOR), ValueError, r"snapshots\[0\] must be of the model, with weights"),
        (lambda: boundary(model, snapshots, X, XOR, frames=1), ValueError, "frames must be from 2 to 600, got 1"),
        (lambda: boundary(model, snapshots, X, XOR, fps=51), ValueError, "fps must be from 1 to 50, got 51"),
        (lambda: boundary(model, snapshots, X, XOR, resolution=1), ValueError, "resolution must be from 2 to 1000"),
        (lambda: boundary(model, snapshots, X, XOR, class_names=["a"]), ValueError, "class_names must be 2 names"),
        (lambda: boundary(model, snapshots, X[:, :1], XOR), ValueError, "X must|X has"),
        (lambda: hidden(model, snapshots, X, XOR, layer=7), (ValueError, IndexError), "layer"),
        (lambda: deform(model, X, XOR, frames=200), ValueError, "frames must be fewer, as 2 layers have at most 600"),
        (lambda: deform(line[0], line[2], line[3]), ValueError, "model must be a net with a hidden layer"),
        (lambda: deform(object(), X, XOR), TypeError, "model must be a Model or an estimator of fastnn"),
        (lambda: descent(model, {}, X, XOR), ValueError, "snapshots must be of 1 to 8 trainings, got 0"),
        (lambda: descent(other, {"a": snapshots}, X, XOR), ValueError, r"snapshots\['a'\]\[0\] must be of the model"),
        (lambda: descent(model, {"a": snapshots}, X, XOR, resolution=2), ValueError, "resolution must be from 3 to"),
        (lambda: descent("net", snapshots, X, XOR), TypeError, "model must be a fastnn.Model"),
    ]  # fmt: skip
    for call, kind, text in cases:
        with pytest.raises(kind, match=text):
            call()


def test_three_features_have_no_boundary():
    rng = np.random.default_rng(0)
    wide = rng.standard_normal((30, 3))
    model, snapshots = trained([3, 2], XOR[:30], X=wide, epochs=5, every=1)
    with pytest.raises(ValueError, match=r"X must be of two columns.*hidden_space_animation"):
        plot.boundary_animation(model, snapshots, wide, XOR[:30])


def test_dark_pictures_are_dark_in_all_frames(xor, tmp_path):
    with plot.style("dark"):
        film = plot.boundary_animation(*xor, X, XOR, **SMALL)
    film.save(tmp_path / "film.gif")
    with Image.open(tmp_path / "film.gif") as image:
        for k in range(5):
            image.seek(k)
            assert np.asarray(image.convert("RGB"))[0, -1].max() < 60


def test_films_are_imported_on_first_access():
    assert set(plot._FILMS) <= set(dir(plot))
    with pytest.raises(AttributeError, match="no attribute 'boundary_animations'"):
        plot.boundary_animations  # noqa: B018
