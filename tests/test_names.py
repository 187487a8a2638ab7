"""Names of other libraries, and names that do not exist: resolved, or answered with the right one."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
import subprocess
import sys

import numpy as np
import pytest
from models import classifier, data, regressor

import fastnn
from fastnn import (
    activations,
    custom,
    initializers,
    losses,
    metrics,
    optimizers,
    regularizers,
    schedules,
)
from fastnn._validation import other_libraries
from fastnn._validation.names import explained

GET = {
    "activation": (activations.get, lambda found: found.name),
    "kernel_initializer": (initializers.get, str),
    "loss": (losses.get, lambda found: found.name),
    "metric": (metrics.get, lambda found: found.name),
    "optimizer": (optimizers.get, repr),
}


@pytest.mark.parametrize("argument", sorted(other_libraries.NAMES))
def test_other_names_are_those_of_something(argument):
    get, key = GET[argument]
    for name, target in other_libraries.NAMES[argument].items():
        assert key(get(name)) == key(get(target)), name


@pytest.mark.parametrize("argument", sorted(other_libraries.NO_NAMES))
def test_names_of_what_is_not_here_are_answered(argument):
    for name, answer in other_libraries.NO_NAMES[argument].items():
        with pytest.raises(ValueError, match="must be one of") as error:
            GET[argument][0](name.upper())
        assert str(error.value).endswith(f", got {name.upper()!r}. {answer}")


@pytest.mark.parametrize(
    ("argument", "given", "expected"),
    [
        ("activation", "ReLU", "relu"),
        ("activation", "LeakyReLU", "leaky_relu"),
        ("activation", "Hard-Sigmoid", "hard_sigmoid"),
        ("activation", "linear", "identity"),
        ("kernel_initializer", "HeNormal", "he_normal"),
        ("kernel_initializer", "glorot-uniform", "glorot_uniform"),
        ("loss", "MSE", "squared_error"),
        ("loss", "CrossEntropyLoss", "softmax_crossentropy"),
        ("loss", "cross_entropy", "softmax_crossentropy"),
        ("loss", "bce_with_logits", "binary_crossentropy"),
        ("loss", "SparseCategoricalCrossentropy", "softmax_crossentropy"),
        ("loss", "MeanAbsoluteError", "absolute_error"),
        ("metric", "ACC", "accuracy"),
        ("metric", "RMSE", "root_mean_squared_error"),
        ("optimizer", "Adam", "Adam(learning_rate=0.001)"),
        ("optimizer", "RMSprop", "RMSProp(learning_rate=0.001)"),
        ("optimizer", "SGD", "SGD(learning_rate=0.01)"),
        ("optimizer", "L-BFGS", repr(fastnn.LBFGS())),
        ("optimizer", "levenberg_marquardt", repr(fastnn.LevenbergMarquardt())),
    ],
)
def test_letter_case_and_separators_make_no_difference(argument, given, expected):
    get, key = GET[argument]
    assert key(get(given)) == expected


class ReLU:
    """As torch.nn has it."""


class Momentum:
    """An optimizer of another library."""


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: activations.get(np.tanh), r"got <ufunc 'tanh'>\. Write 'tanh'\."),
        (lambda: activations.get(ReLU()), r"Write 'relu'\."),
        (lambda: activations.get(ReLU), r"Write 'relu'\."),
        (lambda: activations.get(activations.gelu), r"Write 'gelu'\."),
        (lambda: activations.get(np.maximum), r"A function of your own is fastnn\.custom\.activation\(function, "),
        (lambda: fastnn.Dense(3, lambda z: z), r"A function of your own is fastnn\.custom\.activation"),
        (lambda: losses.get(lambda u, t: 0.0), r"A function of your own is fastnn\.custom\.loss\(value, gradient\)"),
        (lambda: losses.get(losses.huber), r"Write 'huber'\."),
        (lambda: optimizers.get(Momentum()), r"Write 'momentum'\."),
        (lambda: optimizers.get(fastnn.Adam), r"Write 'adam'\."),
        (lambda: optimizers.get(3), r"got 3\.$"),
    ],
)
def test_objects_ofother_libraries(call, text):
    with pytest.raises(TypeError, match=text):
        call()


RATE = r"The rate is an argument of the optimizer: Model\(\.\.\., optimizer=Adam\(learning_rate=1e-3\)\)\."


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: fastnn.Model([1], loss="mse", lr=1.0), rf"Model\(\) has no argument 'lr'\. {RATE}"),
        (lambda: fastnn.Model([1], loss="mse", learning_rate=1.0), RATE),
        (lambda: fastnn.Model([1], loss="mse", epochs=1), "It is an argument of fit"),
        (lambda: fastnn.Model([1], loss="mse", random_state=1), r"Write seed\."),
        (lambda: fastnn.Model([1], loss="mse", optimiser="adam"), r"Did you mean 'optimizer'\? The arguments are"),
        (lambda: fastnn.Model([1], "mse"), r"Model\(\) takes only layers by position; give others by name: loss="),
        (lambda: fastnn.Model([1]), "missing 1 required keyword-only argument: 'loss'"),
        (lambda: fastnn.Model([(64, "relu"), 10], loss="mse"), r"layers\[0\] must be .*\. Use Dense\(64, 'relu'\)\."),
        (lambda: fastnn.Dense(3, input_dim=4), r"Dense\(\) has no argument 'input_dim'\. The width of the input"),
        (lambda: fastnn.Dense(3, input_shape=(4,)), "The width of the input follows from the data"),
        (lambda: fastnn.Dense(3, kernel_regularizer="l2"), r"Model\(\.\.\., regularizer=L2\(1e-4\)\)"),
        (lambda: fastnn.Dense(3, name="first"), "have no names"),
        (lambda: fastnn.Dense(3, "relu", "zeros"), r"takes only units, activation by position; .*: kernel_init"),
        (lambda: fastnn.Dropout(p=0.5), r"Write rate\."),
        (lambda: fastnn.Adam(lr=1e-3), r"Adam\(\) has no argument 'lr'\. Write learning_rate\."),
        (lambda: fastnn.Adam(beta1=0.9), r"Write beta_1\."),
        (lambda: fastnn.Adam(betas=(0.9, 0.999)), r"Write beta_1=0\.9, beta_2=0\.999\."),
        (lambda: fastnn.AdamW(eps=1e-3), r"AdamW\(\) has no argument 'eps'\. Write epsilon\."),
        (lambda: fastnn.RMSProp(alpha=0.9), r"Write rho\."),
        (lambda: fastnn.SGD(1e-3, 0.9), r"SGD\(\) takes only learning_rate by position; give others by name: "),
        (lambda: fastnn.LBFGS(tolerance_grad=0.1), r"Write gtol\."),
        (lambda: schedules.Cosine(0.1, 10), r"Cosine\(\) takes only learning_rate by position; .* epochs=\.\.\., "),
        (lambda: schedules.Cosine(0.1, T_max=10), r"Write epochs\."),
        (lambda: schedules.OneCycle(max_lr=0.1, epochs=3), r"Write learning_rate\."),
        (lambda: fastnn.L2(alpha=3), r"L2\(\) has no argument 'alpha'\. The arguments are l2\."),
        (lambda: fastnn.EarlyStopping(n_iter_no_change=3), r"Write patience\."),
        (lambda: fastnn.EarlyStopping(verbose=1), "Only fit has a display"),
        (lambda: fastnn.EarlyStopping("loss", 0.1), "takes only monitor by position"),
        (lambda: fastnn.LambdaCallback(on_batch_end=print), "There are no calls between batches"),
        (lambda: fastnn.Augmentation(0.1), r"Augmentation\(\) takes no arguments by position; give others by name: "),
        (lambda: losses.softmax_crossentropy(from_logits=True), "computed from logits in any case"),
        (lambda: losses.Loss("huber", smoothing=1), "Did you mean 'label_smoothing'"),
        (lambda: metrics.Metric("f", max, "classes"), "takes only name, function by position"),
        (lambda: fastnn.load("x", weights_only=True), "has no argument 'weights_only'"),
        (lambda: classifier().fit(*data(), 10), r"fit\(\) takes only X, y by position; give others by name: epochs="),
        (lambda: classifier().fit(*data(), n_epochs=3), r"fit\(\) has no argument 'n_epochs'\. Write epochs\."),
        (lambda: classifier().fit(*data(), nb_epoch=3), r"Write epochs\."),
        (lambda: classifier().fit(*data(), max_iter=3), r"Write epochs\."),
        (lambda: classifier().fit(*data(), learning_rate=3), RATE),
        (lambda: classifier().fit(*data(), metrics=["acc"]), r"It is an argument of Model\."),
        (lambda: classifier().fit(*data(), validation_freq=2), "Each epoch ends with a validation"),
        (lambda: classifier().fit(*data(), initial_epoch=2), "A model counts its epochs"),
        (lambda: classifier().fit(*data(), steps_per_epoch=2), "An epoch is one pass over X"),
        (lambda: classifier().fit(data()[0]), "missing 1 required positional argument: 'y'"),
        (lambda: classifier().evaluate(*data(), return_dict=True), "The result is a dict in any case"),
        (lambda: classifier().train_on_batch(*data(), epochs=1), "It is an argument of fit"),
        (lambda: classifier().build(3).replace_head([3], lr=1), rf"replace_head\(\) has no argument 'lr'\. {RATE}"),
    ],
)
def test_arguments_ofother_libraries(call, text):
    with pytest.raises(TypeError, match=text):
        call()


def test_every_answer_can_be_given():
    """No table names a keyword that the call has, or an argument that no call has."""
    calls = [fastnn.Model, fastnn.Model.fit, fastnn.Model.evaluate, fastnn.Dense, fastnn.Dropout, fastnn.load]
    calls += [getattr(schedules, name) for name in schedules.__all__]
    calls += [*optimizers.CLASSES.values(), *map(regularizers.__dict__.get, ("L1", "L2"))]
    calls += [fastnn.EarlyStopping, fastnn.ModelCheckpoint, fastnn.ReduceLROnPlateau, fastnn.CSVLogger]
    known = {name for call in calls for name in inspect.signature(call).parameters}
    for word, names in other_libraries.SYNONYMS.items():
        assert not set(names) - known - {"save_weights_only"}, word
        assert word not in names


def test_signatures_stay_visible():
    assert list(inspect.signature(fastnn.Model).parameters)[:2] == ["layers", "loss"]
    assert list(inspect.signature(fastnn.Model.fit).parameters)[:4] == ["self", "X", "y", "epochs"]
    assert list(inspect.signature(fastnn.Dense).parameters)[:2] == ["units", "activation"]
    assert next(iter(inspect.signature(fastnn.Adam).parameters)) == "learning_rate"
    assert inspect.signature(fastnn.Adam).parameters["beta_1"].default == 0.9
    assert fastnn.Model.fit.__doc__.startswith("Train for")


def test_an_error_inside_a_call_stays_as_it_is():
    @explained
    def inner(a, *, b=1):
        return len(a)

    assert inner("text") == 4
    with pytest.raises(TypeError, match=r"object of type 'int' has no len\(\)"):
        inner(3)
    with pytest.raises(TypeError, match=r"inner\(\) has no argument 'c'\. The arguments are a, b\."):
        inner(3, c=1)
    with pytest.raises(TypeError, match=r"inner\(\) takes only a by position; give others by name: b=\.\.\.$"):
        inner(3, 4)
    with pytest.raises(TypeError, match=r"inner\(\) takes only a by position\.$"):
        inner(3, 4, b=5)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'a'"):
        inner(b=5)


@pytest.mark.parametrize(
    ("owner", "name", "value", "text"),
    [
        (fastnn.Dense(3), "trainable", False, r"trainable of Dense is read-only\. Set model\.trainable = \[\.\.\.\]"),
        (fastnn.Dense(3), "size", 3, r"Dense has no field 'size'\.$"),
        (fastnn.Adam(weight_decay=0.1), "learning_rate", 1e-4,
         r"Write model\.optimizer = Adam\(learning_rate=0\.0001, weight_decay=0\.1\)\.$"),
        (fastnn.Adam(), "lr", 1e-4, r"Adam has no field 'lr'\. Write learning_rate\."),
        (fastnn.Adam(), "learning_rate", -1.0, r"Write model\.optimizer = Adam\(\.\.\., learning_rate=\.\.\.\)\.$"),
        (fastnn.LBFGS(), "gtol", 0.5, r"Write model\.optimizer = LBFGS\(.*gtol=0\.5"),
        (fastnn.L2(0.1), "l2", 0.2, r"Write model\.regularizer = L2\(l2=0\.2\)\."),
        (schedules.Constant(0.1), "learning_rate", 0.2, r"Write model\.optimizer = Adam\(Constant\(.*0\.2\)\)"),
    ],
)  # fmt: skip
def test_what_is_read_only_says_how_to_change_it(owner, name, value, text):
    with pytest.raises(dataclasses.FrozenInstanceError, match=text):
        setattr(owner, name, value)
    assert pickle.loads(pickle.dumps(owner)) == owner


@pytest.mark.parametrize("name", sorted(other_libraries.PUBLIC_NAMES))
def test_public_names_ofother_libraries(name):
    with pytest.raises(AttributeError) as error:
        getattr(fastnn, name)
    assert str(error.value) == f"fastnn has no attribute '{name}'. {other_libraries.PUBLIC_NAMES[name]}"
    assert not hasattr(fastnn, name)


def test_the_answer_is_in_the_error_of_an_import():
    with pytest.raises(ImportError, match=r"has no attribute 'Sequential'\. Write Model\("):
        from fastnn import Sequential  # noqa: F401
    with pytest.raises(ImportError, match="cannot import name 'qqqq'"):
        from fastnn import qqqq  # noqa: F401
    with pytest.raises(AttributeError, match="Did you mean 'RMSProp'"):
        _ = fastnn.RMSprop
    with pytest.raises(AttributeError, match=r"no attribute 'qqqq'\.$"):
        _ = fastnn.qqqq


@pytest.mark.parametrize("suffix", other_libraries.SUFFIXES)
def test_files_are_not_named_as_those_of_other_formats(suffix, tmp_path):
    path = tmp_path / f"net{suffix}"
    with pytest.raises(ValueError, match=rf"path must be a name without {suffix}, which is another format.*net\.npz"):
        classifier().save(path)
    with pytest.raises(ValueError, match="filepath must be a name without"):
        fastnn.ModelCheckpoint(str(path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["net", "net.npz", "net.fastnn", "net.v1"])
def test_other_suffixes_are_free(name, tmp_path):
    classifier().save(tmp_path / name)
    assert fastnn.load(tmp_path / name).loss.name == "softmax_crossentropy"


@pytest.mark.parametrize("hook", [*other_libraries.HOOKS, "on_epoch_ends", "on_epochs_begin", "on_training_end"])
def test_a_hook_that_is_never_called_is_refused(hook):
    kind = type("Mine", (fastnn.Callback,), {hook: lambda self, *arguments: None})
    for callbacks in (kind(), [fastnn.TerminateOnNaN(), kind()]):
        model = classifier()
        with pytest.raises(TypeError, match=rf"Mine, has {hook}, which is never called\. "):
            model.fit(*data(), callbacks=callbacks)
        assert not model.built


def test_methods_that_are_no_hooks_are_free():
    kind = type("Mine", (fastnn.Callback,), {"on_improvement": lambda self: None, "on_click": print})
    assert len(classifier().fit(*data(), callbacks=kind())) == 1


def test_representations_are_calls():
    assert repr(fastnn.Dense(3)) == "Dense(3)"
    assert repr(fastnn.Dense(3, "relu", use_bias=False)) == "Dense(3, 'relu', use_bias=False)"
    assert repr(fastnn.Dense(3, fastnn.elu(0.5), dropout=0.1)) == "Dense(3, elu(alpha=0.5), dropout=0.1)"
    assert repr(fastnn.Dense(3, "elu", max_norm=2)) == "Dense(3, 'elu', max_norm=2.0)"
    softsign = custom.activation(lambda z: z / (1 + abs(z)), lambda z: 1 / (1 + abs(z)) ** 2, name="softsign")
    assert repr(fastnn.Dense(3, softsign)) == "Dense(3, 'softsign')"
    assert repr(fastnn.EarlyStopping()) == "EarlyStopping('val_loss')"
    assert repr(fastnn.EarlyStopping("loss", patience=5)) == "EarlyStopping('loss', patience=5)"
    assert repr(fastnn.ReduceLROnPlateau(factor=0.5)) == "ReduceLROnPlateau('val_loss', factor=0.5)"
    assert repr(fastnn.ModelCheckpoint("a.npz", save_best_only=True)) == "ModelCheckpoint('a.npz', save_best_only=True)"
    assert repr(fastnn.CSVLogger("a.csv")) == "CSVLogger('a.csv')"
    assert repr(fastnn.TerminateOnNaN()) == "TerminateOnNaN()"
    assert repr(fastnn.LambdaCallback(on_train_end=print)) == f"LambdaCallback(on_train_end={print!r})"

    class Mine(fastnn.Callback):
        def __init__(self, every):
            self._every = every

    assert "Mine object at" in repr(Mine(3))


@pytest.mark.parametrize("units", [10, 2])
def test_labels_for_a_loss_of_numbers_name_the_loss_for_classes(units):
    X, y = data()
    with pytest.raises(ValueError, match=r"for labels of classes make the Model with loss='softmax_crossentropy'\.$"):
        fastnn.Model([8, units], loss="mse").fit(X, y)
    with pytest.raises(ValueError, match=r"give shape \(\d+, 2\)\.$"):
        regressor().fit(X, y * 0.5)


def test_dir_shows_the_names_in_a_fresh_process():
    code = "import fastnn; print(*(getattr(fastnn, name) is not None for name in dir(fastnn)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"True"}
