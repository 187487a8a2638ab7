"""Data of the playground: generators, text, points set by hand."""

import numpy as np
import pytest

from fastnn import datasets
from fastnn.playground import points as data
from fastnn.playground.settings import defaults


def read(text, share=50.0):
    return data.read(text, share=share, seed="1")


@pytest.mark.parametrize("name", data.GENERATORS)
@pytest.mark.parametrize("noise", [0.0, 50.0])
def test_points_of_classes_are_those_of_the_generators(name, noise):
    settings = defaults() | {"dataset": name, "noise": noise, "seed": "0.12", "classes": 4}
    points = data.make(settings)
    make = getattr(datasets, f"make_{name}")
    more = {"n_classes": 4} if name in data.OF_CLASSES else {}
    X, y = make(500, noise=noise / 100, seed=data.seed_of("0.12"), **more)
    np.testing.assert_array_equal(points.X, X)
    np.testing.assert_array_equal(points.labels, y if more else 2 * y - 1)
    np.testing.assert_array_equal(points.classes(), y)
    assert (points.n_train, points.n_classes) == (250, 4 if more else 2)


@pytest.mark.parametrize(("name", "make"), [("reg-plane", datasets.make_plane), ("reg-gauss", datasets.make_bumps)])
def test_points_of_a_regression(name, make):
    points = data.make(defaults() | {"problem": "regression", "regDataset": name, "seed": "a", "percTrainData": 10.0})
    X, y = make(1200, seed=data.seed_of("a"))
    np.testing.assert_array_equal(points.X, X)
    np.testing.assert_array_equal(points.labels, y)
    assert (points.n_train, points.n_classes) == (120, 0)


def test_add_and_remove():
    points = data.make(defaults() | {"seed": "1"})
    more = points.added(1.0, -2.0, 1)
    assert (len(more.X), more.n_train) == (501, 251)
    np.testing.assert_array_equal(more.X[250], [1, -2])
    assert not more.described()[250]["test"]
    fewer = more.without_nearest(1.0001, -2.0001)
    np.testing.assert_array_equal(fewer.X, points.X)
    assert fewer.n_train == 250
    test = points.X[-1]
    assert points.without_nearest(*test).n_train == 250
    assert len(points.cleared().X) == 0
    with pytest.raises(ValueError, match="points must have one to remove"):
        points.cleared().without_nearest(0, 0)


@pytest.mark.parametrize(
    ("place", "label", "text"),
    [
        ((7, 0), 1, "x must be a number from -6 to 6, got 7"),
        ((0, float("nan")), 1, "y must be a finite number"),
        (("a", 0), 1, "x must be a number"),
        ((0, 0), 0, "label must be -1 or 1, got 0"),
        ((0, 0), None, "label must be a number"),
    ],
)
def test_bad_points_are_refused(place, label, text):
    with pytest.raises((TypeError, ValueError), match=text):
        data.make(defaults()).added(*place, label)


def test_labels_of_added_points():
    classes = data.make(defaults() | {"dataset": "blobs", "classes": 3})
    assert classes.added(0, 0, 2).classes()[classes.n_train] == 2
    with pytest.raises(ValueError, match="label must be a class from 0 to 2, got 3"):
        classes.added(0, 0, 3)
    regression = data.make(defaults() | {"problem": "regression"})
    assert regression.added(0, 0, 0.25).labels[regression.n_train] == 0.25
    with pytest.raises(ValueError, match="label must be a number from -1 to 1, got 2"):
        regression.added(0, 0, 2)


def test_number_of_points_is_bounded(monkeypatch):
    monkeypatch.setattr(data, "MOST_POINTS", 500)
    with pytest.raises(ValueError, match="points must be at most 500"):
        data.make(defaults()).added(0, 0, 1)


@pytest.mark.parametrize(
    "text",
    [
        "x,y,label\n1,2,a\n3,4,b\n", "1;2;a\r\n3;4;b", "1 2 a\n\n3 4 b", "1\t2\ta\n3\t4\tb\n",
        '\ufeff"x","y","l"\n1, 2, "a"\n3,4,b',
    ],
)  # fmt: skip
def test_forms_of_text(text):
    points, notice = read(text)
    assert points.names == ("a", "b")
    assert sorted(points.X.tolist()) == [[1, 2], [3, 4]]
    assert dict(zip(map(tuple, points.X.tolist()), points.labels, strict=True)) == {(1, 2): -1, (3, 4): 1}
    assert notice == "2 points read, 2 classes."
    assert points.n_train == 1


def test_kinds_of_labels():
    assert read("1,1,0\n2,2,1\n3,3,5\n")[0].n_classes == 3
    assert read("1,1,0\n2,2,1\n3,3,5\n")[0].names == ("0", "1", "5")
    assert read("1,1,-1\n2,2,1\n")[0].n_classes == 2
    regression, notice = read("1,1,0.5\n2,2,1\n")
    assert regression.n_classes == 0
    assert sorted(regression.labels) == [0.5, 1]
    assert notice == "2 points read, a regression."
    many = "\n".join(f"{k},{k / 10},{k}" for k in range(7))
    wide, notice = read(many)
    assert wide.n_classes == 0
    assert (wide.labels.min(), wide.labels.max()) == (-1, 1)
    assert notice.startswith("7 points read, a regression. labels mapped linearly") or "inputs" in notice


def test_inputs_outside_of_the_picture_are_moved():
    points, notice = read("0,1e300,a\n1000,-1e300,b\n500,0,a\n")
    assert sorted(points.X.tolist()) == [[-5, 5], [0, 0], [5, -5]]
    assert notice.endswith("inputs mapped linearly into the picture's range.")
    constant, _ = read("100,1,a\n100,2,b\n")
    assert (constant.X[:, 0] == -5).all()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("1,2,a\n3,4\n", r"line 2 must be two numbers and a label, such as 1.5,2,0, got '3,4'"),
        ("x,y,l\n1,2,a\n\n3,z,b\n", r"line 4 must be two numbers and a label"),
        ("1,2,a\n3,nan,b\n", "line 2 must be"),
        ("1,2,a\n3,4,\n", "line 2 must be"),
        ("1,2,a,5\n", "line 1 must be"),
        ("", "the data must have lines"),
        ("x,y,l\n", "the data must have at least 2 points, got 0"),
        ("1,2,a\n", "the data must have at least 2 points, got 1"),
        ("1,2,a\n3,4,a\n", "the labels must be at least two different ones, got 'a' alone"),
        ("\n".join(f"1,2,{name}" for name in "abcdefg"), "the labels must be numbers, or at most 6 names, got 7"),
        ("1,2,a\n" * 5001, "the data must have at most 5000 points, got 5001"),
        ("1" * 1_000_001, "text must be at most 1000000 characters"),
        ('"1,2,a\n3,4,b', "the data must have at least 2 points, got 1"),
        ("1,2,\0\n2,3,b", "line 1 must be"),
    ],
)
def test_bad_text_is_refused_with_its_line(text, error):
    with pytest.raises(ValueError, match=error):
        read(text)


def test_text_must_be_text():
    with pytest.raises(TypeError, match="text must be a text of lines"):
        read(5)


def test_text_of_points_can_be_read_again():
    points, _ = read("1,2,dog\n3,4,cat\n-1,0.25,dog\n")
    again, _ = read(points.text())
    assert again.names == points.names
    assert sorted(again.X.tolist()) == sorted(points.X.tolist())
    assert points.text().startswith("x,y,label\n")
