"""Search: brackets as published, survivors that train on, the same result however it is interrupted or divided."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from scipy import stats

import fastnn
from fastnn import Dense, Dropout, Model, _chunks
from fastnn.search import Search
from fastnn.search._run import Run

RNG = np.random.default_rng(0)
X = RNG.uniform(-2.0, 2.0, (150, 3)).astype(np.float32)
Y = np.sin(X).sum(axis=1)
LABELS = np.digitize(Y, [-0.7, 0.7])
SPACE = {
    "width": stats.randint(2, 9), "depth": [1, 2], "activation": ["tanh", "relu"], "batch_size": [8, 32],
    "learning_rate": stats.loguniform(1e-3, 1e-1), "l2": stats.loguniform(1e-6, 1e-2), "optimizer": ["adam", "sgd"],
}  # fmt: skip


def new_search(space=SPACE, **settings):
    return Search(space, **({"loss": "squared_error", "max_epochs": 9, "seed": 3} | settings))


def same(a, b):
    """Whether two searches have the same candidates, scores and nets, to the bit."""
    for one, other in zip(a.table, b.table, strict=True):
        for name in one:
            if name != "seconds":
                assert one[name] == other[name] or math.isnan(one[name] - other[name]), name
    np.testing.assert_equal(a.curves(), b.curves())
    assert a.best_settings == b.best_settings
    assert np.array_equal(a.model.predict(X), b.model.predict(X))
    for one, other in zip(a.models, b.models, strict=True):
        assert np.array_equal(one.predict(X), other.predict(X))


# --------------------------------------------------------------------------------------------------- brackets


def test_brackets_of_hyperband_are_those_published():
    """L. Li et al., 2018, table 1, where R = 81 and eta = 3."""
    assert new_search(max_epochs=81).brackets == [
        [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
        [(34, 3), (11, 9), (3, 27), (1, 81)],
        [(15, 9), (5, 27), (1, 81)],
        [(8, 27), (2, 81)],
        [(5, 81)],
    ]


@pytest.mark.parametrize(
    ("settings", "brackets"),
    [
        ({"method": "halving", "max_epochs": 27}, [[(27, 1), (9, 3), (3, 9), (1, 27)]]),
        ({"method": "halving", "n_candidates": 10, "min_epochs": 5, "max_epochs": 20, "factor": 2},
         [[(10, 5), (5, 10), (2, 20)]]),
        ({"method": "halving", "n_candidates": 4, "min_epochs": 2, "max_epochs": 20}, [[(4, 2), (1, 7), (1, 20)]]),
        ({"method": "halving", "min_epochs": 7, "max_epochs": 7}, [[(1, 7)]]),
        ({"method": "random", "n_candidates": 6, "max_epochs": 5}, [[(6, 5)]]),
        ({"max_epochs": 1}, [[(1, 1)]]),
    ],
)  # fmt: skip
def test_brackets(settings, brackets):
    assert new_search(**settings).brackets == brackets


# ------------------------------------------------------------------------------------------------- candidates


def test_candidates_are_drawn_by_the_seed():
    one, other, third = (new_search(seed=seed).fit(X, Y, refit=False).table for seed in (3, 3, 4))
    assert [row["learning_rate"] for row in one] == [row["learning_rate"] for row in other]
    assert [row["learning_rate"] for row in one] != [row["learning_rate"] for row in third]
    assert {row["depth"] for row in one} == {1, 2}
    assert all(1e-3 <= row["learning_rate"] <= 1e-1 and 2 <= row["width"] <= 8 for row in one)
    assert all(type(row["width"]) is int and type(row["learning_rate"]) is float for row in one)


@pytest.mark.parametrize(
    ("space", "model"),
    [
        ({"layers": [[Dense(3, "tanh"), 1]]}, {"layers": [Dense(3, "tanh"), 1]}),
        ({"widths": [(4, 3)], "activation": "tanh"}, {"layers": [Dense(4, "tanh"), Dense(3, "tanh"), 1]}),
        ({"widths": [()]}, {"layers": [1]}),
        ({"widths": 5}, {"layers": [5, 1]}),
        ({"width": 4, "depth": 2, "dropout": 0.25}, {"layers": [4, Dropout(0.25), 4, Dropout(0.25), 1]}),
        ({"width": 4, "depth": 0}, {"layers": [1]}),
        ({"width": 4, "optimizer": fastnn.SGD(0.1), "momentum": 0.5}, {"optimizer": fastnn.SGD(0.1, momentum=0.5)}),
        ({"width": 4, "momentum": 0.5, "weight_decay": 0.1}, {"optimizer": fastnn.Adam(weight_decay=0.1)}),
        ({"width": 4, "learning_rate": [fastnn.schedules.Cosine(0.1, epochs=9)]},
         {"optimizer": fastnn.Adam(fastnn.schedules.Cosine(0.1, epochs=9))}),
        ({"width": 4, "regularizer": ["l2"]}, {"regularizer": "l2"}),
        ({"width": 4, "l1": 0.1}, {"regularizer": fastnn.L1(0.1)}),
        ({"width": 4, "optimizer": "lbfgs", "learning_rate": 0.1, "batch_size": 8}, {"optimizer": "lbfgs"}),
        ({"width": 4, "seed": [11], "batch_size": [None]}, {"seed": 11}),
    ],
    ids=str,
)  # fmt: skip
def test_the_best_net_is_a_model_with_its_settings(space, model):
    """Trained at once, or in the parts of the rungs."""
    result = Search(space, loss="squared_error", method="halving", max_epochs=9, seed=0).fit(
        X[:100], Y[:100], validation_data=(X[100:], Y[100:]), batch_size=None if "batch_size" in space else 16
    )
    best = result.model
    settings = {"layers": [4, 1], "seed": result.best_index, "loss": "squared_error", **model}
    alone = Model(**settings)
    size = None if alone.optimizer.full_batch or "batch_size" in space else 16
    for epochs in (1, 2, 6):
        alone.fit(X[:100], Y[:100], epochs=epochs, batch_size=size)
    assert best.layers == alone.layers
    assert best.optimizer == alone.optimizer
    assert best.seed == alone.seed
    assert_close(best, alone)
    expected = alone.evaluate(X[100:], Y[100:])["loss"] - penalty(alone)
    assert result.best_score == pytest.approx(expected, rel=1e-5)


def assert_close(one, other):
    """Predictions are the same to rounding, as small nets of a search are trained several at once."""
    np.testing.assert_allclose(one.predict(X), other.predict(X), rtol=1e-4, atol=1e-5)


def penalty(model):
    regularizer = model.regularizer
    return sum(regularizer.l1 * np.abs(w).sum() + regularizer.l2 * (w * w).sum() for w in model.weights)


def test_the_best_of_the_table_is_best():
    result = new_search().fit(X, Y)
    table = result.table
    assert len(result) == len(table) == sum(rungs[0][0] for rungs in new_search().brackets)
    best = table[result.best_index]
    assert best["rank"] == 1
    assert best["epochs"] == result.best_epochs == 9
    assert best["val_loss"] == result.best_score == min(row["val_loss"] for row in table if row["epochs"] == 9)
    assert sorted(row["rank"] for row in table) == list(range(1, len(table) + 1))
    for k, (epochs, scores) in enumerate(result.curves()):
        assert epochs == [rung for rung in (1, 3, 9) if epochs[0] <= rung <= epochs[-1]]
        assert scores[-1] == table[k]["val_loss"]
    assert "best val_loss" in repr(result)
    frame = pytest.importorskip("pandas") and result.to_frame()
    assert frame["rank"].tolist() == [row["rank"] for row in table]


def test_survivors_are_the_best_of_their_rung():
    result = new_search(method="halving", n_candidates=18).fit(X, Y, refit=False)
    curves = result.curves()
    first = np.array([scores[0] for _, scores in curves])
    went_on = np.array([len(epochs) > 1 for epochs, _ in curves])
    assert went_on.sum() == 6
    assert first[went_on].max() <= first[~went_on].min()


@pytest.mark.parametrize("monitor", ["val_accuracy", "val_loss"])
def test_classes_and_what_is_better(monitor):
    result = new_search(loss="softmax_crossentropy", monitor=monitor).fit(X, LABELS)
    rows = [row for row in result.table if row["epochs"] == 9]
    chosen = (max if monitor == "val_accuracy" else min)(row[monitor] for row in rows)
    assert result.best_score == chosen
    assert result.model.predict_proba(X).shape == (150, 3)


def test_metrics_of_the_user(tmp_path):
    def worst_error(t, u):
        return float(np.abs(t - u).max())

    search = new_search(metrics=[worst_error], monitor="val_worst_error")
    same(search.fit(X, Y), search.fit(X, Y, path=tmp_path / "state"))
    assert search.fit(X, Y).best_score > 0


# ------------------------------------------------------------------------------------------- cross-validation


def test_cross_validation():
    search = new_search(method="halving", max_epochs=3)
    result = search.fit(X, Y, cv=3)
    assert len(result.models) == 3
    fold = np.empty(150, int)
    fold[np.random.default_rng(3).permutation(150)] = np.arange(150) % 3
    settings = result.best_settings
    scores = []
    for k, model in enumerate(result.models):
        alone = search_model(settings, seed=3 + result.best_index)
        for epochs in (1, 2):
            alone.fit(X[fold != k], Y[fold != k], epochs=epochs, batch_size=settings["batch_size"])
        assert_close(model, alone)
        scores.append(alone.evaluate(X[fold == k], Y[fold == k])["loss"] - penalty(alone))
    row = result.table[result.best_index]
    assert row["val_loss"] == pytest.approx(np.mean(scores), rel=1e-5)
    assert row["val_loss_std"] == pytest.approx(np.std(scores, ddof=1), rel=1e-4)
    refitted = search_model(settings, seed=3 + result.best_index)
    refitted.fit(X, Y, epochs=3, batch_size=settings["batch_size"])
    assert_close(result.model, refitted)
    pairs = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(3)]
    same(result, search.fit(X, Y, cv=pairs))


def search_model(settings, seed):
    layers = [Dense(settings["width"], settings["activation"])] * settings["depth"]
    kind = {"adam": fastnn.Adam, "sgd": fastnn.SGD}[settings["optimizer"]]
    optimizer = kind(settings["learning_rate"])
    regularizer = fastnn.L2(settings["l2"])
    return Model([*layers, 1], loss="squared_error", optimizer=optimizer, regularizer=regularizer, seed=seed)


@pytest.mark.parametrize(
    ("loss", "y"),
    [
        ("softmax_crossentropy", np.repeat([0, 1, 2], [31, 110, 9])),
        ("binary_crossentropy", np.repeat([0, 1], [131, 19])),
        ("binary_crossentropy", np.repeat([False, True], [131, 19])[:, None]),
    ],
)
def test_folds_have_the_same_share_of_each_class(monkeypatch, loss, y):
    folds = []
    run = Run.all_brackets
    monkeypatch.setattr(Run, "all_brackets", lambda self, file: (folds.extend(self.plan.folds), run(self, file)))
    new_search({"width": 3}, loss=loss, method="random", n_candidates=1, max_epochs=1).fit(X, y, cv=4)
    counts = np.array([np.bincount(np.ravel(fold.held[1]).astype(int)) for fold in folds])
    assert counts.sum() == 150
    assert (np.ptp(counts, axis=0) <= 1).all()
    assert np.ptp(counts.sum(axis=1)) <= 1
    for fold in folds:
        rows = {tuple(row) for row in fold.X} | {tuple(row) for row in fold.held[0]}
        assert len(rows) == len({tuple(row) for row in X})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_several_targets(dtype):
    y = np.stack([Y, X[:, 0]], axis=1)
    result = new_search(dtype=dtype, method="halving").fit(X, y, cv=2)
    assert result.model.predict(X).shape == (150, 2)
    assert result.model.predict(X).dtype == dtype


def test_one_column_one_candidate_and_two_rows():
    result = Search({"width": 1}, loss="squared_error", method="random", n_candidates=1, max_epochs=1).fit(
        X[:2, :1], Y[:2], cv=2
    )
    assert len(result) == 1
    assert result.table[0]["rank"] == 1


def test_results_are_pickled():
    search = pickle.loads(pickle.dumps(new_search(method="halving")))
    same(pickle.loads(pickle.dumps(search.fit(X, Y))), search.fit(X, Y))


def test_splitters_of_scikit_learn_and_weights_of_rows():
    model_selection = pytest.importorskip("sklearn.model_selection")
    pd = pytest.importorskip("pandas")
    search = new_search(method="halving", max_epochs=3)
    frame = pd.DataFrame(X, columns=list("abc"))
    weights = np.arange(1.0, 151.0)
    splitter = model_selection.KFold(2)
    result = search.fit(frame, pd.Series(Y), cv=splitter, sample_weight=weights)
    same_rows = [(np.arange(75, 150), np.arange(75)), (np.arange(75), np.arange(75, 150))]
    other = search.fit(X, Y, cv=same_rows, sample_weight=weights)
    assert result.curves() == other.curves()
    assert result.curves() != search.fit(X, Y, cv=same_rows).curves()


# ----------------------------------------------------------------------------------------- bits, files, workers


def test_threads_change_no_bit():
    same(new_search(n_threads=1).fit(X, Y), new_search(n_threads=2).fit(X, Y))


def test_workers_change_no_bit():
    pytest.importorskip("joblib")
    search = new_search(method="halving")
    same(search.fit(X, Y), search.fit(X, Y, n_jobs=2))


@pytest.mark.parametrize("after", [1, 2, 3, 5])
@pytest.mark.parametrize("cv", [None, 2])
def test_an_interrupted_search_goes_on(tmp_path, monkeypatch, after, cv):
    search = new_search()
    path = tmp_path / "search.npz"
    rungs = 0
    train = Run.train_rung

    def stopped(run, epochs):
        nonlocal rungs
        rungs += 1
        if rungs > after:
            raise KeyboardInterrupt
        train(run, epochs)

    monkeypatch.setattr(Run, "train_rung", stopped)
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, Y, cv=cv, path=path)
    calls = []
    monkeypatch.setattr(Run, "train_rung", lambda run, epochs: (calls.append(epochs), train(run, epochs)))
    resumed = new_search().fit(X, Y, cv=cv, path=path)
    total = sum(map(len, search.brackets))
    assert len(calls) == total - after
    same(resumed, new_search().fit(X, Y, cv=cv))
    calls.clear()
    same(resumed, new_search().fit(X, Y, cv=cv, path=path))  # a search that is finished is read
    assert calls == []


def test_the_file_of_another_search_is_refused(tmp_path):
    path = tmp_path / "search.npz"
    new_search(method="halving", max_epochs=3).fit(X, Y, path=path)
    before = path.read_bytes()
    for other, y in ((new_search(method="halving", max_epochs=3, seed=4), Y), (new_search(method="halving"), Y),
                     (new_search(method="halving", max_epochs=3), Y + 1)):  # fmt: skip
        with pytest.raises(ValueError, match="is of a search with other settings or data"):
            other.fit(X, y, path=path)
    assert path.read_bytes() == before
    model = Model([1], loss="squared_error").build(3)
    fastnn.Population.of([model]).save(path)
    with pytest.raises(ValueError, match="holds no search"):
        new_search().fit(X, Y, path=path)


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("candidates"),
        lambda state: state["candidates"].pop(),
        lambda state: state.update(kept=[0, 0]),
        lambda state: state.update(kept=[], finished=None),
        lambda state: state.update(at=[0, 7]),
        lambda state: state.update(at="none"),
        lambda state: state["candidates"].__setitem__(0, [[["one", 2.0, None]], 0.0]),
    ],
)
def test_damaged_files_are_refused(tmp_path, monkeypatch, change):
    path = tmp_path / "search.npz"
    write = fastnn.population.write

    def damaged(path, population, extra):
        change(extra["search"])
        write(path, population, extra)

    monkeypatch.setattr(fastnn.population, "write", damaged)
    search = new_search(method="halving", max_epochs=1)
    search.fit(X, Y, path=path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="content is no valid search"):
        search.fit(X, Y, path=path)
    assert path.read_bytes() == before
    path.write_bytes(before[:500])
    with pytest.raises(ValueError, match=r"search\.npz"):
        search.fit(X, Y, path=path)


def test_data_of_any_type_are_told_apart(tmp_path):
    pd = pytest.importorskip("pandas")
    path = tmp_path / "search.npz"
    frame = pd.DataFrame(X, columns=list("abc")).astype(object)
    search = new_search({"width": 2}, method="halving", max_epochs=1)
    result = search.fit(frame, Y, path=path)
    same(result, search.fit(frame, Y, path=path))
    other = frame.copy()
    other.iloc[75, 1] += 1.0  # where a printed frame has an ellipsis
    with pytest.raises(ValueError, match="other settings or data"):
        search.fit(other, Y, path=path)


def test_rates_that_are_functions_have_no_file(tmp_path):
    space = {"width": 3, "learning_rate": [lambda epoch: 0.1]}
    with pytest.raises(TypeError, match=r"learning_rate=.* cannot be written into a file"):
        new_search(space).fit(X, Y, path=tmp_path / "search.npz")
    assert new_search(space, method="random", n_candidates=2, max_epochs=2).fit(X, Y).best_epochs == 2


# -------------------------------------------------------------------------------------------------- what fails


def test_candidates_that_diverge_are_left():
    space = {"width": 4, "optimizer": "sgd", "learning_rate": [1e-2, 1e30]}
    result = new_search(space, method="halving", n_candidates=12).fit(X, Y)
    rows = result.table
    bad = [row for row in rows if row["learning_rate"] == 1e30]
    assert bad
    assert all(math.isnan(row["val_loss"]) and row["epochs"] == 1 for row in bad)
    assert result.best_settings["learning_rate"] == 1e-2
    assert sorted(row["rank"] for row in bad) == list(range(13 - len(bad), 13))
    with pytest.raises(ValueError, match="no candidate has a finite score"):
        new_search({**space, "learning_rate": 1e30}, method="halving").fit(X, Y)


def test_candidates_that_diverge_late_are_last():
    """Those that are trained to the end in one bracket, behind those that another one has left."""
    def falls(epoch):
        return 0.01 if epoch < 2 else 1e25

    space = {"width": 4, "optimizer": "sgd", "learning_rate": [0.01, falls]}
    result = new_search(space).fit(X, Y)
    rows = result.table
    diverged = [row for row in rows if math.isnan(row["val_loss"])]
    assert max(row["epochs"] for row in diverged) > 1
    assert min(row["rank"] for row in diverged) == len(rows) - len(diverged) + 1
    assert rows[result.best_index]["rank"] == 1
    assert result.best_settings["learning_rate"] == 0.01


def test_a_search_whose_candidates_all_diverge_says_what_was_best_before(tmp_path, monkeypatch):
    rate = fastnn.schedules.PiecewiseConstant(0.01, boundaries=[2], values=[1e25])
    search = new_search({"width": 4, "optimizer": "sgd", "learning_rate": [rate]}, method="halving")
    path = tmp_path / "search.npz"
    text = (
        r"no candidate has a finite score after all of its epochs. The best one before it diverged was candidate \d "
        r"with the val_loss [\d.]+ after 1 epochs: .*width.* or set max_epochs=1"
    )
    with pytest.raises(ValueError, match=text):
        search.fit(X, Y)
    with pytest.raises(ValueError, match=text):
        search.fit(X, Y, path=path)
    # The file has the end of the search: nothing is trained again.
    monkeypatch.setattr(Run, "train_rung", lambda run, epochs: pytest.fail("trained"))
    with pytest.raises(ValueError, match=text):
        search.fit(X, Y, path=path)


def test_a_search_goes_on_after_a_bracket_whose_candidates_all_diverge(tmp_path, monkeypatch):
    class Rates:
        """A distribution, of which the first nine numbers are too large."""

        count = 0

        def rvs(self, random_state):
            self.count += 1
            return 1e30 if self.count <= 9 else 1e-2

    def search():
        return new_search({"width": 4, "optimizer": "sgd", "learning_rate": Rates()})

    assert [rungs[0][0] for rungs in search().brackets] == [9, 5, 3]
    whole = search().fit(X, Y)
    train, calls = Run.train_rung, []

    def stopped(run, epochs):
        calls.append(epochs)
        if len(calls) == 2:
            raise KeyboardInterrupt
        train(run, epochs)

    monkeypatch.setattr(Run, "train_rung", stopped)
    with pytest.raises(KeyboardInterrupt):
        search().fit(X, Y, path=tmp_path / "search.npz")
    same(search().fit(X, Y, path=tmp_path / "search.npz"), whole)
    assert calls == [1, 3, 3, 9, 9]


@pytest.mark.filterwarnings("ignore:column 0 of X")
def test_a_refit_that_diverges_leaves_the_result():
    """The rows that are held back here are those that the nets cannot stand."""
    far = X.copy()
    far[:2] = 1e18
    pairs = [(np.arange(2, 150), np.arange(2, 150))]
    with pytest.warns(fastnn.TrainingWarning, match="refit of the best candidate diverged"):
        result = new_search({"width": 4, "optimizer": "sgd"}, method="halving").fit(far, Y, cv=pairs)
    assert result.model is result.models[0]
    assert math.isfinite(result.best_score)


@pytest.mark.parametrize(
    ("space", "error", "text"),
    [
        ({}, TypeError, "space must be"),
        ([1], TypeError, "space must be"),
        ({"learning_rate": [0.1]}, ValueError, "with one of layers, widths and width"),
        ({"width": 3, "widths": [(3,)]}, ValueError, "with one of layers, widths and width"),
        ({"width": 3, "rate": 0.1}, ValueError, "space must be of settings that are among"),
        ({"width": []}, ValueError, "at least one item"),
        ({"widths": [(3,)], "depth": 2}, ValueError, "depth counts with width alone"),
        ({"layers": [[3, 1]], "activation": "relu"}, ValueError, "activation counts with widths or width"),
        ({"width": 3, "regularizer": "l2", "l1": 0.1}, ValueError, "regularizer, and l1 or l2"),
        ({"width": 3, "learning_rate": -1.0}, ValueError, "learning_rate must be"),
        ({"width": 2.5}, TypeError, "width must be"),
        ({"width": stats.randint}, TypeError, "a distribution that draws"),
        ({"width": np.array([])}, ValueError, "at least one item"),
        ({"width": np.array(2.5)}, TypeError, "width must be"),
        ({"width": 3, "learning_rate": stats.cauchy(scale=math.inf)}, ValueError, "distribution of finite numbers"),
    ],
)  # fmt: skip
def test_bad_spaces(space, error, text):
    with pytest.raises(error, match=text):
        Search(space, loss="squared_error", max_epochs=3)


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"method": "grid"}, ValueError, "method must be"),
        ({"n_candidates": 5}, ValueError, "method='hyperband' computes it"),
        ({"factor": 1}, ValueError, "factor must be at least 2"),
        ({"min_epochs": 10}, ValueError, "min_epochs must be at most"),
        ({"monitor": "loss"}, ValueError, "monitor must be one of val_loss"),
        ({"monitor": "val_accuracy"}, ValueError, "monitor must be one of val_loss"),
        ({"seed": -1}, ValueError, "seed must be"),
        ({"metrics": [lambda t, u: 0.0], "monitor": "val_<lambda>"}, ValueError, "monitor must be"),
    ],
)
def test_bad_settings(settings, error, text):
    with pytest.raises(error, match=text):
        new_search(**settings)


class TooFewRows:
    """A splitter that has no folds for these rows."""

    def split(self, X, y):
        raise ValueError("more folds than rows")


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"cv": 1}, ValueError, "cv must be"),
        ({"cv": 2, "validation_split": 0.1}, ValueError, "validation_split and cv are given"),
        ({"cv": 3.5}, TypeError, "cv must be"),
        ({"cv": []}, ValueError, "cv must be"),
        ({"validation_data": X}, TypeError, "validation_data must be"),
        ({"validation_split": 1.5}, ValueError, "validation_split must be"),
        ({"refit": 1}, TypeError, "refit must be"),
        ({"path": 3}, TypeError, "path must be"),
        ({"path": "model.onnx"}, ValueError, "path must be a name without .onnx"),
        ({"path": "no such folder/search.npz"}, FileNotFoundError, "no such folder"),
        ({"cv": "abc"}, TypeError, "cv must be"),
        ({"cv": [([0, 1], [150])]}, ValueError, "cv must be pairs of indices below the number of rows, 150"),
        ({"cv": [([0, 1], [])]}, ValueError, "cv must be pairs of indices, at least one"),
        ({"cv": [([0.0, 1.0], [2])]}, ValueError, "cv must be pairs of indices"),
        ({"cv": TooFewRows()}, ValueError, "more folds than rows"),
        ({"validation_data": (X[:, :2], Y)}, ValueError, r"validation_data\[0\] has 2 features"),
        ({"validation_data": (X * np.nan, Y)}, ValueError, r"validation_data\[0\] holds nan"),
        ({"batch_size": 0}, ValueError, "batch_size must be"),
        ({"class_weight": "balanced"}, ValueError, "class_weight needs a loss of classification"),
        ({"n_jobs": 0}, ValueError, "n_jobs must be"),
        ({"sample_weight": [1.0]}, ValueError, "sample_weight"),
    ],
)
def test_bad_arguments(monkeypatch, arguments, error, text):
    """Which are named before anything is trained."""
    trained = []
    monkeypatch.setattr(_chunks, "_train", lambda *args: trained.append(args))
    with pytest.raises(error, match=text):
        new_search().fit(X, Y, **arguments)
    assert trained == []


@pytest.mark.parametrize(
    ("space", "text"),
    [
        ({"layers": [[4, 1], [4, 1], [4, 2]]}, "layers must be with 1 outputs, as y requires"),
        ({"width": 4, "batch_size": [8, 8, 0]}, "batch_size must be"),
    ],
)
def test_candidates_of_later_brackets_are_checked_first(monkeypatch, space, text):
    monkeypatch.setattr(_chunks, "_train", lambda *args: pytest.fail("trained"))
    with pytest.raises(ValueError, match=text) as caught:
        new_search(space, max_epochs=27).fit(X, Y)
    assert "settings of candidate" in caught.value.__notes__[0]


def test_labels_are_numbers():
    """Other labels are those of the estimator; the error says how."""
    names = np.array(["low", "middle", "high"])[LABELS]
    search = new_search({"width": 4}, loss="softmax_crossentropy", method="halving", max_epochs=3)
    for given in (names, names.astype(object)):
        with pytest.raises(TypeError, match=r"y holds .*np\.unique\(y, return_inverse=True\)") as caught:
            search.fit(X, given)
        assert "SearchResult.estimator" in caught.value.__notes__[0]
    with pytest.raises(TypeError, match="X holds") as caught:
        search.fit(X.astype(str), LABELS)
    assert not hasattr(caught.value, "__notes__")
    classes, codes = np.unique(names, return_inverse=True)
    pytest.importorskip("sklearn")
    assert set(search.fit(X, codes).estimator(classes).predict(X)) <= set(classes)


def test_progress_is_printed(capsys):
    new_search(method="halving").fit(X, Y, verbose=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("bracket 1/1, rung 1/3: 9 candidates, 1 epochs, best val_loss")
