"""Sessions of the playground: each message and its answers, and messages that make no sense."""

import ast
import io
import json
import math
import random
import re
import subprocess
import sys

import numpy as np
import pytest

import fastnn
from fastnn.playground import session as module
from fastnn.playground.pictures import plane
from fastnn.playground.session import Session
from fastnn.playground.settings import SETTINGS


class Page:
    """What a page would receive of a session."""

    def __init__(self, text=None, **settings):
        self.answers = []
        self.session = Session(lambda message, buffers: self.answers.append((message, list(buffers))), text)
        self.ask("hello", state={"seed": "1", **settings})

    def ask(self, kind, **fields):
        """Send a message and return the types of its answers."""
        self.answers.clear()
        self.session.handle({"type": kind, **fields})
        json.dumps([message for message, _ in self.answers], allow_nan=False)  # what is sent is JSON
        return [message["type"] for message, _ in self.answers]

    def last(self, kind):
        """The last answer of a type."""
        return next(message for message, _ in reversed(self.answers) if message["type"] == kind)

    def buffers(self, kind):
        return next(buffers for message, buffers in reversed(self.answers) if message["type"] == kind)

    @property
    def model(self):
        return self.session.trainer.model

    def set(self, **changes):
        return self.ask("set", changes=changes)

    def error(self, kind, **fields):
        """Send a message that is refused, and return the text."""
        before = json.dumps(self.session.settings), self.session.trainer, self.session.points
        assert self.ask(kind, **fields) == ["error"]
        assert (json.dumps(self.session.settings), self.session.trainer, self.session.points) == before
        assert self.last("error")["request"] == kind
        return self.last("error")["message"]


@pytest.fixture
def page():
    return Page()


def test_hello(page):
    assert page.ask("hello", state={"seed": "1"}) == ["state", "frame"]
    state, frame = page.last("state"), page.last("frame")
    assert set(state["settings"]) == set(SETTINGS)
    assert [feature["key"] for feature in state["features"] if feature["on"]] == ["x", "y"]
    assert (state["nClasses"], state["nOutputs"], state["classNames"], state["playing"]) == (2, 1, None, False)
    assert len(state["points"]) == 500
    assert sum(point["test"] for point in state["points"]) == 250
    assert state["limits"]["layers"] == [0, 6, 1]
    assert state["limits"]["units"] == [1, 8, 1]
    assert frame["epoch"] == 0
    assert [np.shape(w) for w in frame["weights"]] == [(2, 4), (4, 2), (2, 1)]
    assert [np.shape(b) for b in frame["biases"]] == [(4,), (2,), (1,)]
    assert [len(buffer) for buffer in page.buffers("frame")] == [10_000, 700]


def test_settings_of_an_address():
    """A link of TensorFlow Playground, as its state.ts writes it."""
    link = (
        "activation=relu&batchSize=7&dataset=spiral&regDataset=reg-gauss&learningRate=0.1&regularizationRate=0.003&"
        "regularization=L2&noise=25&networkShape=8,3,1&seed=0.77&showTestData=true&discretize=false&percTrainData=70&"
        "x=false&y=true&xTimesY=true&xSquared=false&ySquared=false&cosX=false&sinX=true&cosY=false&sinY=false&"
        "collectStats=false&problem=classification&initZero=false&hideText=false&learningRate_hide=true"
    )
    page = Page(**dict(part.split("=") for part in link.split("&")))
    settings = page.last("state")["settings"]
    expected = {
        "activation": "relu", "batchSize": 7, "dataset": "spiral", "learningRate": 0.1, "regularization": "L2",
        "regularizationRate": 0.003, "noise": 25.0, "networkShape": [8, 3, 1], "seed": "0.77", "showTestData": True,
        "discretize": False, "percTrainData": 70.0, "x": False, "xTimesY": True, "sinX": True,
    }  # fmt: skip
    assert {key: settings[key] for key in expected} == expected
    assert [np.shape(w) for w in page.last("frame")["weights"]] == [(3, 8), (8, 3), (3, 1), (1, 1)]
    assert [layer.activation.name for layer in page.model.layers] == ["relu", "relu", "relu", "tanh"]


def test_what_is_wrong_in_an_address_is_replaced_and_said():
    page = Page(learningRate="fast", networkShape="4,99", problem="x", noise="10", unknown="1")
    settings = page.last("state")["settings"]
    assert settings["learningRate"] == 0.03
    assert settings["networkShape"] == [4, 2]
    assert settings["noise"] == 10
    assert page.last("notice")["message"].count(" must be ") == 3
    assert Page(x="false", y="false").last("state")["settings"]["x"] is True


def test_an_address_without_layers():
    page = Page(networkShape="")
    assert page.last("state")["settings"]["networkShape"] == []
    assert [np.shape(w) for w in page.last("frame")["weights"]] == [(2, 1)]
    assert page.last("state")["net"] == "[]"


def test_limits_are_lifted_by_an_address():
    page = Page(networkShape=",".join(["64"] * 12))
    assert page.last("state")["limits"]["layers"] == [0, 12, 1]
    assert page.last("state")["limits"]["units"] == [1, 64, 1]
    page.ask("step")
    assert page.last("frame")["epoch"] == 1
    assert len(page.buffers("frame")[1]) == 100 * (12 * 64 + 1)


def test_play_and_next(page):
    assert page.ask("play") == ["state"]
    assert page.last("state")["playing"]
    assert page.ask("next") == ["frame"]
    frame = page.last("frame")
    assert 1 <= frame["epoch"] <= 20
    assert frame["playing"]
    assert frame["stepTime"] > 0
    page.ask("next")
    assert page.last("frame")["epochsPerSecond"] > 0
    assert page.ask("pause") == ["state"]
    assert not page.last("state")["playing"]
    before = page.session.trainer.epoch
    assert page.ask("next") == ["frame"]
    assert page.last("frame")["epoch"] == before


def test_epochs_per_frame(page):
    page.set(epochsPerFrame=3)
    page.ask("play")
    for k in range(1, 4):
        page.ask("next")
        assert page.last("frame")["epoch"] == 3 * k


def test_step_and_reset(page):
    start = page.last("frame")["weights"]
    page.ask("play")
    assert page.ask("step") == ["state", "frame"]
    assert page.last("frame")["epoch"] == 1
    assert not page.last("frame")["playing"]
    assert page.last("frame")["weights"] != start
    points = page.last("state")["points"]
    assert page.ask("reset") == ["state", "frame"]
    assert page.last("frame")["epoch"] == 0
    assert page.last("frame")["weights"] != start  # another start
    assert page.last("state")["points"] == points
    page.ask("hello", state={"seed": "1"})
    assert page.last("frame")["weights"] == start


def test_regenerate_keeps_the_weights(page):
    page.ask("step")
    points, seed = page.session.points, page.session.settings["seed"]
    weights = page.last("frame")["weights"]
    assert page.ask("regenerate") == ["state", "frame"]
    assert page.last("frame")["weights"] == weights
    assert page.last("frame")["epoch"] == 1
    assert page.last("state")["settings"]["seed"] != seed
    assert not np.array_equal(page.session.points.X, points.X)


@pytest.mark.parametrize(
    "changes",
    [
        {"learningRate": 0.1}, {"showTestData": True}, {"discretize": True}, {"optimizer": "adam"}, {"momentum": 0.5},
        {"schedule": "cosine"}, {"stopEpochs": 100}, {"epochsPerFrame": 7}, {"patience": 3}, {"stopLoss": 0.1},
    ],
    ids=lambda changes: next(iter(changes)),
)  # fmt: skip
def test_changes_without_a_reset(page, changes):
    page.ask("step")
    weights = page.last("frame")["weights"]
    assert page.set(**changes) == ["state", "frame"]
    assert page.last("frame")["epoch"] == 1
    assert page.last("frame")["weights"] == weights
    assert page.last("state")["settings"] | changes == page.last("state")["settings"]
    page.ask("play")
    assert page.set(**{key: SETTINGS[key].default for key in changes}) == ["state"]  # the next frame shows it


@pytest.mark.parametrize(
    "changes",
    [
        {"activation": "gelu"}, {"regularization": "L1"}, {"regularizationRate": 0.1}, {"batchSize": 3},
        {"dataset": "xor"}, {"noise": 20}, {"percTrainData": 80}, {"networkShape": [3]}, {"sinX": True},
        {"problem": "regression"}, {"initZero": True}, {"loss": "crossentropy"}, {"dropout": 0.2},
        {"layerActivations": ["relu"]}, {"layerDropout": [0.3]}, {"precision": "float64"},
    ],
    ids=lambda changes: next(iter(changes)),
)  # fmt: skip
def test_changes_with_a_reset(page, changes):
    page.ask("step")
    page.ask("play")
    assert page.set(**changes) == ["state", "frame"]
    assert page.last("frame")["epoch"] == 0
    assert not page.last("state")["playing"]
    page.ask("step")
    assert page.last("frame")["epoch"] == 1


def test_the_rate_acts_at_once(page):
    page.set(learningRate=1e-9)
    before = page.last("frame")["weights"]
    page.ask("step")
    assert page.last("frame")["weights"] == before
    page.set(learningRate=0.3)
    page.ask("step")
    assert page.last("frame")["weights"] != before
    assert page.last("frame")["learningRate"] == 0.3


def test_maps(page):
    """The bytes are the outputs at the centres of the pixels."""
    page.ask("step")
    inputs = plane(100).astype(np.float32)
    assert inputs[0].tolist() == [-6, 6]
    assert inputs[99].tolist() == [6, 6]
    large, small = page.buffers("frame")
    values = (np.frombuffer(large, np.uint8) - 127.5) / 127.5
    np.testing.assert_allclose(values, page.model.predict(inputs)[:, 0], atol=0.0041)
    units = (np.frombuffer(small, np.uint8).reshape(7, 10, 10) - 127.5) / 127.5
    few = plane(10, edges=False).astype(np.float32)
    assert few[0].tolist() == pytest.approx([-5.4, 5.4])
    for layer, rows in ((0, slice(0, 4)), (1, slice(4, 6)), (2, slice(6, 7))):
        expected = page.model.hidden(few, layer).T.reshape(-1, 10, 10)
        np.testing.assert_allclose(units[rows], expected, atol=0.0041)


def test_selected_nodes(page):
    inputs = plane(100).astype(np.float32)
    for layer, unit in ((0, 3), (1, 1), (2, 0)):
        assert page.ask("select", layer=layer, unit=unit) == ["frame"]
        assert page.last("frame")["selected"] == {"layer": layer, "unit": unit}
        values = (np.frombuffer(page.buffers("frame")[0], np.uint8) - 127.5) / 127.5
        np.testing.assert_allclose(values, page.model.hidden(inputs, layer)[:, unit], atol=0.0041)
    page.ask("select", layer=-1, unit=4)
    values = (np.frombuffer(page.buffers("frame")[0], np.uint8) - 127.5) / 127.5
    np.testing.assert_allclose(values, np.clip(inputs[:, 0] * inputs[:, 1], -1, 1), atol=0.0041)
    page.ask("select", layer=None, unit=None)
    assert page.last("frame")["selected"] == {"layer": None, "unit": 0}
    page.ask("select", layer=1, unit=1)
    page.ask("reset")
    assert page.last("frame")["selected"] == {"layer": 1, "unit": 1}
    page.set(networkShape=[4, 1])
    assert page.last("frame")["selected"] == {"layer": None, "unit": 0}
    page.ask("play")
    assert page.ask("select", layer=0, unit=0) == []
    page.ask("next")
    assert page.last("frame")["selected"] == {"layer": 0, "unit": 0}


def test_classes():
    page = Page(dataset="rings", classes="4", networkShape="8")
    state = page.last("state")
    assert (state["nClasses"], state["nOutputs"]) == (4, 4)
    assert {point["label"] for point in state["points"]} == {0, 1, 2, 3}
    assert page.last("frame")["mapClasses"]
    shares, small, classes = page.buffers("frame")
    inputs = plane(100).astype(np.float32)
    probabilities = page.model.predict_proba(inputs)
    np.testing.assert_array_equal(np.frombuffer(classes, np.uint8), probabilities.argmax(axis=1))
    np.testing.assert_allclose(np.frombuffer(shares, np.uint8) / 255, probabilities.max(axis=1), atol=0.0021)
    assert len(small) == 100 * 12
    page.ask("select", layer=1, unit=2)
    assert not page.last("frame")["mapClasses"]
    values = (np.frombuffer(page.buffers("frame")[0], np.uint8) - 127.5) / 127.5
    np.testing.assert_allclose(values, 2 * probabilities[:, 2] - 1, atol=0.0041)
    assert np.sum(page.last("frame")["metrics"]["confusion"]) == 250
    page.set(optimizer="adam", learningRate=0.03, epochsPerFrame=100)
    page.ask("play")
    for _ in range(5):
        page.ask("next")
    assert page.last("frame")["metrics"]["accuracy"]["test"] > 0.8


def test_cross_entropy_of_two_classes():
    page = Page(loss="crossentropy", networkShape="4")
    inputs = plane(100).astype(np.float32)
    values = (np.frombuffer(page.buffers("frame")[0], np.uint8) - 127.5) / 127.5
    np.testing.assert_allclose(values, 2 * page.model.predict_proba(inputs)[:, 0] - 1, atol=0.0041)


def test_metrics(page):
    page.ask("step")
    points, frame = page.session.points, page.last("frame")
    predicted = np.sign(page.model.predict(page.session.trainer.X)[:, 0])
    right = predicted == points.labels
    assert frame["metrics"]["accuracy"]["train"] == pytest.approx(right[:250].mean())
    assert frame["metrics"]["accuracy"]["test"] == pytest.approx(right[250:].mean())
    test = points.labels[250:], predicted[250:]
    counts = [[int(np.sum((test[0] == t) & (test[1] == p))) for p in (-1, 1)] for t in (-1, 1)]
    assert frame["metrics"]["confusion"] == counts


def test_metrics_of_a_regression():
    page = Page(problem="regression", regDataset="reg-gauss")
    points, metrics = page.session.points, page.last("frame")["metrics"]
    u = page.model.predict(page.session.trainer.X)[:, 0].astype(float)
    for name, part in (("train", slice(0, 600)), ("test", slice(600, None))):
        t, e = points.labels[part], (u - points.labels)[part]
        assert metrics["rmse"][name] == pytest.approx(math.sqrt((e**2).mean()), rel=1e-5)
        assert metrics["r2"][name] == pytest.approx(1 - (e**2).sum() / ((t - t.mean()) ** 2).sum(), rel=1e-4)


def test_weights_and_biases_of_the_live_net(page):
    assert page.ask("weight", layer=0, **{"from": 1}, to=2, value=0.75) == ["frame"]
    assert page.last("frame")["weights"][0][1][2] == 0.75
    assert page.model.weights[0][1, 2] == 0.75
    assert page.ask("bias", layer=1, to=1, value=-2) == ["frame"]
    assert page.model.biases[1][1] == -2
    before = page.buffers("frame")[0]
    page.ask("weight", layer=2, **{"from": 0}, to=0, value=50)
    assert page.buffers("frame")[0] != before
    assert "value must be from" in page.error("weight", layer=0, **{"from": 0}, to=0, value=1e30)
    assert "value must be a finite number" in page.error("bias", layer=0, to=0, value=math.inf)
    assert "value must be a number" in page.error("bias", layer=0, to=0, value="2")
    assert "from must be an integer from 0 to 1" in page.error("weight", layer=0, **{"from": 2}, to=0, value=1)
    assert "layer must be" in page.error("weight", layer=True, **{"from": 0}, to=0, value=1)


def test_points_by_hand(page):
    page.ask("step")
    weights = page.last("frame")["weights"]
    assert page.ask("points", op="add", x=1.5, y=-2, label=1) == ["state", "frame"]
    state = page.last("state")
    assert {"x": 1.5, "y": -2.0, "label": 1.0, "test": False} in state["points"]
    assert state["settings"]["dataset"] == "own"
    assert state["sets"][-1] == "own"
    assert page.last("frame")["weights"] == weights
    assert page.last("frame")["epoch"] == 1
    page.ask("points", op="remove", x=1.5, y=-2)
    assert len(page.last("state")["points"]) == 500
    page.ask("points", op="clear")
    assert page.last("state")["points"] == []
    assert page.last("frame")["trainLoss"] is None
    page.ask("play")
    assert page.ask("next") == ["frame", "error"]
    assert not page.session.playing
    for k in range(6):
        page.ask("points", op="add", x=k - 3, y=1, label=1 if k % 2 else -1)
    page.ask("step")
    assert page.last("frame")["trainLoss"] > 0
    page.set(dataset="circle")
    assert len(page.last("state")["points"]) == 500
    page.set(dataset="own")
    assert len(page.last("state")["points"]) == 6
    page.ask("regenerate")
    assert len(page.last("state")["points"]) == 6
    assert "op must be" in page.error("points", op="move")


def test_points_of_a_regression_by_hand():
    page = Page(problem="regression")
    page.ask("points", op="add", x=0, y=0, label=0.5)
    assert page.last("state")["settings"]["regDataset"] == "own"
    assert "regression" not in page.error("set", changes={"problem": "classification", "dataset": "own"})


CSV = "x,y,label\n" + "".join(f"{k},{k % 3},{'abc'[k % 3]}\n" for k in range(6))


def test_own_data(page):
    assert page.ask("csv", text=CSV) == ["state", "notice", "frame"]
    state = page.last("state")
    assert state["classNames"] == ["a", "b", "c"]
    assert (state["nClasses"], len(state["points"]), state["settings"]["dataset"]) == (3, 6, "own")
    assert page.last("notice")["message"] == "6 points read, 3 classes."
    page.ask("step")
    assert "line 2" in page.error("csv", text="1,2,3\n1,2")
    page.ask("csv", text="1,2,0.5\n2,3,0.1\n")
    assert page.last("state")["settings"]["problem"] == "regression"
    assert page.last("state")["settings"]["regDataset"] == "own"


def test_data_to_begin_with():
    page = Page(CSV)
    assert page.last("state")["settings"]["dataset"] == "own"
    assert page.last("state")["classNames"] == ["a", "b", "c"]
    page.ask("hello", state={"dataset": "xor"})
    assert page.last("state")["settings"]["dataset"] == "xor"
    with pytest.raises(ValueError, match="line 1"):
        Session(print, "1,2")


def test_own_data_that_are_not_there():
    page = Page(dataset="own", noise="20", networkShape="3")
    settings = page.last("state")["settings"]
    assert (settings["dataset"], settings["noise"], settings["networkShape"]) == ("circle", 20, [3])
    assert page.last("notice")["message"] == "The own data of this address are not here: open their file again."
    assert "dataset must be a data set that is there" in page.error("set", changes={"dataset": "own"})


def test_net_as_text(page):
    assert page.last("state")["net"] == "[(4, 'tanh'), (2, 'tanh')]"
    assert page.ask("net", text="[(5, 'relu'), 3]") == ["state", "frame"]
    assert [layer.units for layer in page.model.layers] == [5, 3, 1]
    assert [layer.activation.name for layer in page.model.layers] == ["relu", "tanh", "tanh"]
    assert ast.literal_eval(page.last("state")["net"]) == [(5, "relu"), (3, "tanh")]
    page.ask("net", text="[]")
    assert len(page.model.layers) == 1


@pytest.mark.parametrize(
    "text",
    ["__import__('os').system('x')", "[4", "4", "[0]", "[65]", "[(4, 'nope')]", "[1] * 9", "[True]", "[4.5]", "{4: 2}",
     "[" * 900, "(" * 400 + ")" * 400, "[" + "1," * 13 + "]", "x" * 2000, 7, None, "[(1, 2, 3)]", "[[[]]]", "\0"],
)  # fmt: skip
def test_text_that_is_no_net(page, text):
    assert " must be " in page.error("net", text=text)


def test_stop_after_epochs(page):
    page.set(stopEpochs=30, epochsPerFrame=20)
    page.ask("play")
    page.ask("next")
    assert page.last("frame")["playing"]
    page.ask("next")
    frame = page.last("frame")
    assert (frame["epoch"], frame["playing"], frame["stopped"]) == (30, False, "stopped after 30 epochs")
    page.ask("play")
    page.ask("next")
    assert page.last("frame")["epoch"] == 30
    page.ask("step")
    assert page.last("frame")["epoch"] == 31


def play_until_it_stops(page, most=400):
    page.ask("play")
    for _ in range(most):
        page.ask("next")
        if not page.last("frame")["playing"]:
            return page.last("frame")
    raise AssertionError("it did not stop")


def test_stop_at_a_loss(page):
    page.set(stopLoss=0.2)
    frame = play_until_it_stops(page)
    assert frame["testLoss"] <= 0.2
    assert frame["stopped"].startswith("stopped at a loss of ")


def test_early_stopping():
    page = Page(patience="40", learningRate="3", noise="50", percTrainData="10")
    frame = play_until_it_stops(page)
    assert frame["stopped"].startswith("stopped early: the loss was lowest, ")


def test_a_solver_that_converges():
    page = Page(problem="regression", networkShape="", optimizer="lm")
    frame = play_until_it_stops(page)
    assert frame["stopped"] in ("converged", "stalled")
    assert frame["trainLoss"] < 1e-6
    assert frame["learningRate"] is None


def test_divergence():
    page = Page(problem="regression", activation="relu", learningRate="10000")
    frame = play_until_it_stops(page)
    assert frame["diverged"]["rate"] == 10000
    assert frame["diverged"]["epoch"] == frame["epoch"] + 1
    assert "learning rate 10000" in frame["diverged"]["message"]
    assert f"epoch {frame['epoch'] + 1}" in frame["diverged"]["message"]
    assert all(np.isfinite(weights).all() for weights in page.model.weights)
    assert all(np.isfinite(row).all() for layer in frame["weights"] for row in layer)
    page.set(learningRate=0.001)
    page.ask("reset")
    assert page.last("frame")["diverged"] is None
    page.ask("step")
    assert page.last("frame")["epoch"] == 1


def test_learning_rates(page):
    start = page.last("frame")["weights"]
    assert page.ask("lr_find") == ["lr_find"]
    found = page.last("lr_find")
    assert len(found["rates"]) == len(found["losses"]) > 20
    assert 0.001 < found["suggestion"] < 10
    assert all(len(pair) == 2 for pair in found["constant"])
    assert page.ask("rates") == ["rates"]
    low, right, high = page.last("rates")["runs"]
    assert low["rate"] < right["rate"] == pytest.approx(found["suggestion"], rel=1e-3)
    assert right["loss"] < low["loss"]
    assert high["rate"] > right["rate"]
    assert high["diverged"] or np.median(high["losses"][1:]) >= high["losses"][0]
    assert low["losses"][0] == right["losses"][0] == high["losses"][0]
    assert [run["maps"] for run in (low, right, high)] == [[0], [1], [2]]
    assert [len(buffer) for buffer in page.buffers("rates")] == [10_000] * 3
    page.ask("next")
    assert page.last("frame")["weights"] == start  # copies were trained
    page.set(optimizer="lm")
    assert "learning" in page.error("lr_find")


def test_three_rates_of_classes():
    page = Page(dataset="blobs")
    page.ask("rates")
    assert [run["maps"] for run in page.last("rates")["runs"]] == [[0, 1], [2, 3], [4, 5]]
    assert len(page.buffers("rates")) == 6


def test_warped_grid(page):
    page.ask("step")
    assert page.ask("grid", layer=0, units=[3, 1]) == ["grid"]
    answer, (grid, points) = page.last("grid"), page.buffers("grid")
    size = answer["size"]
    hidden = page.model.hidden(plane(size).astype(np.float32), 0)
    np.testing.assert_array_equal(np.frombuffer(grid, np.float32).reshape(-1, 2), hidden[:, [3, 1]])
    hidden = page.model.hidden(page.session.trainer.X, 0)
    np.testing.assert_array_equal(np.frombuffer(points, np.float32).reshape(-1, 2), hidden[:, [3, 1]])
    page.ask("grid", layer=2, units=[0, 0])
    assert not np.frombuffer(page.buffers("grid")[0], np.float32).reshape(-1, 2)[:, 1].any()
    assert "units must be two" in page.error("grid", layer=0, units=[0])
    assert "units[1] must be an integer from 0 to 3" in page.error("grid", layer=0, units=[0, 4])


def export(page, format):
    assert page.ask("export", format=format) == ["file"]
    return page.last("file")["name"], page.buffers("file")[0]


@pytest.mark.parametrize(
    "settings",
    [
        {}, {"dataset": "rings", "classes": "5", "activation": "relu", "xTimesY": "true"},
        {"loss": "crossentropy", "optimizer": "adam", "schedule": "cosine", "networkShape": ""},
        {"problem": "regression", "regDataset": "reg-gauss", "regularization": "L2", "regularizationRate": "0.001"},
        {"dropout": "0.2", "initZero": "false", "optimizer": "momentum", "precision": "float64", "noise": "15"},
        {"optimizer": "lm", "dataset": "gauss"},
    ],
    ids=str,
)  # fmt: skip
def test_exported_code_trains_the_same_net(settings, tmp_path):
    page = Page(**settings)
    page.ask("reset")
    for _ in range(1 if settings.get("optimizer") == "lm" else 3):  # a solver begins each call anew
        page.ask("step")
    name, content = export(page, "python")
    assert name == "playground.py"
    code = content.decode() + "\nnp.savez('weights.npz', *model.weights, *model.biases)\n"
    (tmp_path / name).write_text(code)
    command = [sys.executable, "-W", "ignore", name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("loss of the test points: ")
    stored = np.load(tmp_path / "weights.npz")
    for k, array in enumerate((*page.model.weights, *page.model.biases)):
        np.testing.assert_allclose(stored[f"arr_{k}"], array, rtol=1e-5, atol=1e-6)


def test_exported_code_of_own_points(page):
    page.ask("csv", text=CSV)
    page.ask("step")
    _, content = export(page, "python")
    space = {}
    exec(compile(content, "playground.py", "exec"), space)  # what the export wrote, from data of this test
    for stored, array in zip(space["model"].weights, page.model.weights, strict=True):
        np.testing.assert_allclose(stored, array, rtol=1e-5, atol=1e-6)


def test_exported_files(page):
    page.ask("step")
    X = page.session.trainer.X
    name, content = export(page, "npz")
    assert name == "playground.npz"
    np.testing.assert_array_equal(fastnn.load(io.BytesIO(content)).predict(X), page.model.predict(X))
    name, content = export(page, "c")
    assert name == "playground.h"
    assert b"float" in content
    name, content = export(page, "csv")
    assert content.startswith(b"x,y,label\n")
    assert content.count(b"\n") == 501
    assert "format must be python, npz, onnx, c or csv" in page.error("export", format="exe")


def test_exported_onnx(page):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    name, content = export(page, "onnx")
    assert name == "playground.onnx"
    net = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    X = page.session.trainer.X
    outputs = net.run(None, {net.get_inputs()[0].name: X})[0]
    np.testing.assert_allclose(outputs, page.model.predict(X), atol=1e-5)


def test_a_missing_library_is_an_error_of_its_message(page, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert 'pip install "fastnn-mlp[onnx]"' in page.error("export", format="onnx")


def test_compiling_is_said_once(page):
    def answer(message):
        module.compile_listeners[-1]("compiling", "train")
        module.compile_listeners[-1]("compiling", "predict")

    page.session.answers["pause"] = answer
    assert page.ask("pause") == ["notice", "notice"]
    assert [message["message"] for message, _ in page.answers] == [module.COMPILING, None]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"nope": 1}, "changes must be of "), ([], "changes must be an object"),
        ({"learningRate": "x"}, "learningRate"), ({"learningRate": 0}, "learningRate"), ({"noise": -1}, "noise"),
        ({"learningRate": True}, "learningRate"),
        ({"batchSize": 1.5}, "batchSize must be an integer"), ({"activation": "softmax"}, "activation must be one of"),
        ({"x": 1}, "x must be true or false"), ({"networkShape": [0]}, r"networkShape\[0\]"),
        ({"networkShape": 4}, "networkShape must be a list"), ({"networkShape": [1] * 13}, "at most 12 items"),
        ({"x": False, "y": False}, "must have one that is on"), ({"seed": ["a"]}, "seed must be a text"),
        ({"seed": "x" * 2000}, "seed must be a text of at most 1000"), ({"optimizer": "lbfgs", "dropout": 0.5}, None),
        ({"optimizer": "lm", "loss": "crossentropy"}, "lm|Levenberg|solver"),
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_are_refused(page, changes, text):
    if text is None:  # valid settings, with which no training is possible
        page.set(**changes)
        page.ask("play")
        assert page.ask("next") == ["frame", "error"]
        assert not page.session.playing
        return
    assert re.search(text, page.error("set", changes=changes))


VALUES = [
    None, True, False, 0, 1, -1, 2, 3, 99, 10**30, 0.5, 1e308, math.nan, math.inf, -math.inf, "", "a", "tanh", "1",
    "\ud800", "x" * 3000, [], {}, [1, 2], [[]], {"a": 1}, [None], ["relu"], [1e9], b"x",
]  # fmt: skip


def test_thousands_of_messages_that_make_no_sense(page):
    """None raises, each answer is JSON, and the session trains on afterwards."""
    rng = random.Random(1)
    kinds = [*page.session.answers, "nope", "", None, 5, [], {}]
    costly = {"rates", "lr_find", "export"}
    fields = ["state", "changes", "layer", "unit", "from", "to", "value", "op", "x", "y", "label", "text", "units"]
    fields.append("format")
    keys = [*SETTINGS, "nope", "_hide"]
    refused = 0
    for _ in range(3000):
        kind = rng.choice(kinds)
        if isinstance(kind, str) and kind in costly and rng.random() < 0.97:
            continue
        message = {"type": kind}
        for name in rng.sample(fields, rng.randrange(5)):
            message[name] = rng.choice(VALUES)
        if rng.random() < 0.3:
            message["changes"] = {rng.choice(keys): rng.choice(VALUES) for _ in range(2)}
            message["state"] = message["changes"]
        message = rng.choice([message] * 20 + VALUES)
        page.answers.clear()
        page.session.handle(message)
        assert page.answers or (isinstance(message, dict) and page.session.playing)
        for answer, _ in page.answers:
            json.dumps(answer, allow_nan=False)
            refused += answer["type"] == "error"
        if len(page.session.trainer.model.layers) > 4 or page.session.settings["epochsPerFrame"] > 20:
            page.ask("hello", state={})
    assert refused > 1000
    assert page.ask("hello", state={"seed": "1"}) == ["state", "frame"]
    page.ask("step")
    assert page.last("frame")["epoch"] == 1
