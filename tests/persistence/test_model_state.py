"""Persistence: files, pickles and copies are the same model; invalid files raise."""

from __future__ import annotations

import copy
import io
import os
import pickle
import sys
import zipfile

import numpy as np
import pytest
from models import bits, classifier, data, through_a_file

import fastnn
from fastnn import Dense, Model
from fastnn._persistence import npz


def trained(**options):
    model = classifier(**options)
    model.fit(*data(), epochs=3, batch_size=7, validation_split=0.2)
    return model


WAYS = {
    "file": through_a_file,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{
        f"pickle {protocol}": lambda model, protocol=protocol: pickle.loads(pickle.dumps(model, protocol))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=list(WAYS))

OPTIMIZERS = [
    fastnn.SGD(0.05),
    fastnn.SGD(0.02, momentum=0.9),
    fastnn.SGD(0.02, momentum=0.8, nesterov=True),
    fastnn.AdaGrad(0.05, epsilon=1e-7),
    fastnn.RMSProp(0.01, rho=0.8),
    fastnn.Adam(0.01, beta_1=0.8, beta_2=0.99),
]


#  it is the same model


@every_way
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_it_goes_on_as_if_nothing_had_been(way, optimizer, dtype):
    X, y = data()
    model = trained(optimizer=optimizer, dtype=dtype)
    other = way(model)
    assert bits(other) == bits(model)
    assert np.array_equal(other.predict(X), model.predict(X))
    for each in (model, other):
        each.fit(X, y, epochs=2, batch_size=7)
    assert other.history["loss"] == model.history["loss"]
    for a, b in zip(model.weights + model.biases, other.weights + other.biases, strict=True):
        assert a.tobytes() == b.tobytes()


@every_way
def test_everything_that_was_said_is_kept(way):
    model = Model(
        [
            Dense(4, fastnn.leaky_relu(0.3), kernel_initializer="he_normal", use_bias=False),
            Dense(6, fastnn.elu(0.5)),
            Dense(2, "sigmoid"),
        ],
        loss="bce",
        optimizer=fastnn.SGD(0.1, momentum=0.5, nesterov=True),
        regularizer=fastnn.L1(0.25),
        metrics=[],
        seed=2**63 - 1,
        dtype="float64",
        n_threads=1,
    )
    for state in ("unbuilt", "built"):
        other = way(model)
        assert other.built == model.built == (state == "built")
        assert other.layers == model.layers
        assert other.loss == model.loss
        assert other.optimizer == model.optimizer
        assert (other.regularizer.l1, other.regularizer.l2) == (0.25, 0.0)
        assert other.metrics == ()
        assert other.seed == model.seed
        assert other.dtype == model.dtype
        assert bits(other) == bits(model)
        model.build(3)


@every_way
@pytest.mark.parametrize("layers", [[], [3]], ids=["empty list", "a layer"])
def test_an_unbuilt_model(way, layers):
    model = Model(layers, loss="mse", seed=3)
    other = way(model)
    assert not other.built
    X = data()[0]
    for each in (model, other):
        each.fit(X, X)
    assert np.array_equal(model.weights[0], other.weights[0])


@every_way
def test_history_is_kept(way):
    model = trained()
    other = way(model)
    assert other.history.to_dict() == model.history.to_dict()
    assert other.history.epoch == [0, 1, 2]


@every_way
def test_nothing_is_shared(way):
    model = trained()
    before = bits(model)
    other = way(model)
    for a, b in zip(model.weights, other.weights, strict=True):
        assert not np.shares_memory(a, b)
    other.weights[0][...] = 0.0
    other.fit(*data())
    assert bits(model) == before


@every_way
def test_after_a_divergence_and_with_nan_in_the_history(way):
    model = classifier(optimizer=fastnn.SGD(0.1))
    X, y = data()
    model.fit(X, y)
    model.fit(X, y, validation_data=(np.full((2, 3), 3e38), [0, 1]))
    model.optimizer = fastnn.SGD(1e9)
    with pytest.raises(fastnn.DivergenceError):
        model.fit(X, y, epochs=50)
    other = way(model)
    assert bits(other) == bits(model)
    assert other.history.stopped == "diverged"


def test_errors_of_divergence_can_be_pickled():
    model = classifier(optimizer=fastnn.SGD(1e9))
    with pytest.raises(fastnn.DivergenceError) as caught:
        model.fit(*data(), epochs=50)
    other = pickle.loads(pickle.dumps(caught.value))
    assert str(other) == str(caught.value)
    assert (other.epoch, other.learning_rate) == (caught.value.epoch, caught.value.learning_rate)
    assert other.history.to_dict() == caught.value.history.to_dict()


def test_parts_of_a_list_or_a_dictionary():
    models = {"a": trained(), "b": [classifier()]}
    other = copy.deepcopy(models)
    assert bits(other["a"]) == bits(models["a"])
    assert bits(other["b"][0]) == bits(models["b"][0])


#  files


def test_save_and_load(tmp_path):
    model = trained()
    for path in (tmp_path / "model.npz", str(tmp_path / "without suffix")):
        assert model.save(path) is None
        assert os.listdir(tmp_path).count(os.path.basename(path)) == 1
        assert bits(fastnn.load(path)) == bits(model)


def test_saving_twice_gives_the_same_bytes_and_changes_nothing():
    model = trained()
    assert bits(model) == bits(model)
    assert bits(through_a_file(model)) == bits(model)


def test_saving_over_a_file(tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(b"x" * 10**6)
    trained().save(path)
    assert bits(fastnn.load(path)) == path.read_bytes()
    assert os.listdir(tmp_path) == ["model.npz"]


def test_numpy_reads_the_weights(tmp_path):
    model = trained()
    model.save(tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz", allow_pickle=False) as archive:
        assert np.array_equal(archive["params.0.weights"], model.weights[0])
        assert np.array_equal(archive["params.1.biases"], model.biases[1])
        assert archive["params.0.weights"].shape == (3, 5)


def test_a_failure_while_saving_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.npz"
    model = trained()
    model.save(path)
    before = path.read_bytes()
    model.fit(*data())
    write, calls = np.lib.format.write_array, []

    def full(*args, **keywords):
        calls.append(args)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        write(*args, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(np.lib.format, "write_array", full)
        with pytest.raises(OSError, match="No space left"):
            model.save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.npz"]


def test_places_that_cannot_be_written(tmp_path):
    model = trained()
    before = bits(model)
    (tmp_path / "file").write_bytes(b"")
    for place in (tmp_path / "no folder" / "model.npz", tmp_path / "file" / "model.npz", tmp_path):
        with pytest.raises(OSError) as caught:  # noqa: PT011 -- which one depends on the place
            model.save(place)
        assert str(place) in str(caught.value)
    assert bits(model) == before
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            trained().save(tmp_path / "model.npz")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("path", [None, 5, ["model.npz"], io.StringIO()])
def test_what_is_no_path(path):
    with pytest.raises(TypeError, match="path must be"):
        trained().save(path)
    with pytest.raises(TypeError, match="path must be"):
        fastnn.load(path)


def test_threads_of_a_loaded_model(tmp_path):
    trained(n_threads=1).save(tmp_path / "model.npz")
    assert fastnn.load(tmp_path / "model.npz").n_threads == Model([1], loss="mse").n_threads
    assert fastnn.load(tmp_path / "model.npz", n_threads=3).n_threads == 3
    with pytest.raises(ValueError, match=r"n_threads must be .* got 0"):
        fastnn.load(tmp_path / "model.npz", n_threads=0)


#  files that are none


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.npz"):
        fastnn.load(tmp_path / "nothing.npz")


def test_a_file_cut_short_anywhere(tmp_path):
    whole = bits(trained())
    path = tmp_path / "model.npz"
    for end in [*range(0, 200), *range(200, len(whole) - 200, 41), *range(len(whole) - 200, len(whole))]:
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"model\.npz' is (empty|not a fastnn model|truncated or damaged)"):
            fastnn.load(path)


def test_random_bytes(tmp_path):
    path = tmp_path / "model.npz"
    rng = np.random.default_rng(0)
    whole = bits(trained())
    for size in (1, 2, 3, 4, 30, 1000, 10**5):
        noise = rng.integers(0, 256, size, dtype=np.uint8).tobytes()
        for content in (noise, b"PK\x03\x04" + noise, whole[: len(whole) // 2] + noise):
            path.write_bytes(content)
            with pytest.raises(ValueError, match=r"model\.npz' is (empty|not a fastnn model|truncated or damaged)"):
                fastnn.load(path)


def test_damaged_bytes_are_noticed_or_do_not_matter():
    whole = bits(trained())
    for place in range(0, len(whole), 23):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        try:
            model = fastnn.load(io.BytesIO(bytes(damaged)))
        except ValueError as error:
            assert "file" in str(error)  # noqa: PT017 -- either is right
        else:
            assert bits(model) == whole


def test_files_of_others(tmp_path):
    path = tmp_path / "model.npz"
    np.savez(path, w=np.ones(3))
    with pytest.raises(ValueError, match="not a fastnn model: it is an archive without a header"):
        fastnn.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "text")
    with pytest.raises(ValueError, match="not a fastnn model"):
        fastnn.load(path)
    path.write_bytes(pickle.dumps({"weights": [1, 2]}))
    with pytest.raises(ValueError, match="not a fastnn model"):
        fastnn.load(path)


def test_a_later_version(tmp_path, monkeypatch):
    path = tmp_path / "model.npz"
    with monkeypatch.context() as patch:
        patch.setattr(npz, "FORMAT_VERSION", npz.FORMAT_VERSION + 1)
        trained().save(path)
    with pytest.raises(ValueError, match=r"format version 2.*Install a later fastnn"):
        fastnn.load(path)


def changed(header):
    """Give each nonsense that a header can hold, with a name: (name, header)."""

    def with_value(path, value):
        new = copy.deepcopy(header)
        place = new
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        return new

    nonsense = {
        ("layers",): [None, 5, "abc", {}, [], [None], [[]], [{}], [5, 3]],
        ("layers", 0, "units"): [-1, 0, 4, 6, 1.5, "5", None, True, [5], 10**15, 2**70, float("inf")],
        ("layers", 0, "activation"): [None, "relu", [], ["relu"], ["rely", 0.0], ["relu", "x"], ["softmax", 0.0]],
        ("layers", 1, "units"): [1, 2, 4, 2**62],
        ("layers", 0, "kernel_initializer"): ["none", None, 5],
        ("layers", 0, "use_bias"): [None, "yes", 2],
        ("loss",): ["unknown", None, 5, ["mse"], {}],
        ("optimizer",): [None, "adam", ["Adam"], ["Adamant", {}], [["Adam"], {}], ["Adam", None], ["SGD", {"a": 1}]],
        ("optimizer", 0): ["SGD", "AdaGrad", None],
        ("optimizer", 1, "learning_rate"): [-1.0, 0.0, None, "0.1", float("nan"), float("inf"), [], ["Cosine", {}]],
        ("regularizer",): [None, 5, [0.1], [0.1, 0.1, 0.1], [-1.0, 0.0], ["a", "b"]],
        ("metrics",): [5, ["unknown"], [None], ["mean_squared_error"]],
        ("seed",): [-1, 1.5, "0", 2**63, True, []],
        ("dtype",): ["float16", "int32", None, "object", 5, [], "float64"],
        ("n_features",): [-1, 0, 2, 4, 1.5, "3", True, 2**62],
        ("epochs_done",): [-1, 0, 2, 1.5, "3", None, float("inf"), float("nan")],
        ("steps_done",): [-1, 1.5, "3", None, float("inf"), float("nan"), True],
        ("history",): [None, [], {}, {"epoch": []}],
        ("history", "epoch"): [None, 5, [0, 1], [2, 1, 0], [-1, 0, 1], ["0", "1", "2"], [0, 1, 3]],
        ("history", "history"): [None, [], {"loss": [1.0]}, {"loss": ["a", "b", "c"]}],
        ("history", "params"): [5, [1]],
    }
    for path, values in nonsense.items():
        for value in values:
            yield f"{'.'.join(map(str, path))}={value!r}", with_value(path, value)
    for key in header.keys() - {"feature_names"}:  # which earlier files do not have
        yield f"without {key}", {k: v for k, v in header.items() if k != key}


HEADERS = dict(changed(npz.read(io.BytesIO(bits(trained())))[0]))


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_headers_of_nonsense(tmp_path, header):
    _, arrays = npz.read(io.BytesIO(bits(trained())))
    path = tmp_path / "model.npz"
    npz.write(path, header, arrays)
    with pytest.raises(ValueError, match=r"model\.npz' is .*(no valid model|truncated or damaged) \("):
        fastnn.load(path)


@pytest.mark.parametrize("name", ["params.0.weights", "params.1.biases", "slot_0.0.biases", "slot_1.1.weights"])
def test_wrong_arrays(tmp_path, name):
    header, arrays = npz.read(io.BytesIO(bits(trained())))
    good = arrays[name]
    path = tmp_path / "model.npz"
    for wrong in (
        good[..., :-1],
        good[None],
        good.T if good.ndim == 2 else good[:, None],
        np.float32(1.0),
        np.zeros(0, np.float32),
        good.astype(np.float64),
        good.astype(int),
        good.astype(">f4"),
        good.astype(str),
        None,
    ):
        npz.write(path, header, {k: v for k, v in {**arrays, name: wrong}.items() if v is not None})
        with pytest.raises(ValueError, match=rf"(content is no valid model|is truncated or damaged).*{name}"):
            fastnn.load(path)


def test_additional_arrays_are_ignored(tmp_path):
    model = trained()
    header, arrays = npz.read(io.BytesIO(bits(model)))
    npz.write(tmp_path / "model.npz", header, {**arrays, "params.7.weights": np.ones(3), "more": np.ones(3)})
    assert bits(fastnn.load(tmp_path / "model.npz")) == bits(model)
