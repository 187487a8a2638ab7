"""Activations, losses, optimizers and regularizers: names, codes, ranges, and the text of errors."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
import re
from pathlib import Path

import ids
import naive
import numpy as np
import pytest

import fastnn
from fastnn import activations, initializers, layers, losses, metrics, optimizers, regularizers
from fastnn.activations import Activation, elu, leaky_relu
from fastnn.kernels.nn import rules
from fastnn.layers import Dense, as_layers
from fastnn.losses import Loss
from fastnn.metrics import Metric
from fastnn.optimizers import SGD, AdaGrad, Adam, RMSProp
from fastnn.regularizers import L1, L1L2, L2

#  activations


@pytest.mark.parametrize(
    ("spec", "name", "alpha", "code"),
    [
        (None, "identity", 0.0, ids.IDENTITY),
        ("identity", "identity", 0.0, ids.IDENTITY),
        ("linear", "identity", 0.0, ids.IDENTITY),
        ("sigmoid", "sigmoid", 0.0, ids.SIGMOID),
        ("logistic", "sigmoid", 0.0, ids.SIGMOID),
        ("tanh", "tanh", 0.0, ids.TANH),
        ("relu", "relu", 0.0, ids.RELU),
        ("leaky_relu", "leaky_relu", 0.01, ids.LEAKY_RELU),
        ("elu", "elu", 1.0, ids.ELU),
        ("softmax", "softmax", 0.0, ids.SOFTMAX),
        ("exp", "exponential", 0.0, ids.EXPONENTIAL),
        ("selu", "selu", 0.0, ids.SELU),
        ("softplus", "softplus", 0.0, ids.SOFTPLUS),
        ("hard_sigmoid", "hard_sigmoid", 0.0, ids.HARD_SIGMOID),
        ("swish", "silu", 0.0, ids.SILU),
        ("gelu", "gelu", 0.0, ids.GELU),
        ("mish", "mish", 0.0, ids.MISH),
        (leaky_relu(), "leaky_relu", 0.01, ids.LEAKY_RELU),
        (leaky_relu(alpha=0.3), "leaky_relu", 0.3, ids.LEAKY_RELU),
        (elu(), "elu", 1.0, ids.ELU),
        (elu(alpha=np.float32(0.5)), "elu", 0.5, ids.ELU),
        (Activation("linear"), "identity", 0.0, ids.IDENTITY),
    ],
)
def test_activation(spec, name, alpha, code):
    activation = activations.get(spec)
    assert (activation.name, activation.alpha, activation.rule.code) == (name, alpha, code)
    assert type(activation.alpha) is float


def test_unknown_activation_lists_the_names_and_suggests_one():
    with pytest.raises(ValueError, match=r"activation must be one of .*, got 'rleu'\. Did you mean 'relu'\?") as error:
        activations.get("rleu")
    for name in ("identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "softmax"):
        assert name in str(error.value)
    assert activations.get("Tanh") == Activation("tanh")
    with pytest.raises(ValueError, match=r"got 'qqqqqq'\.$"):
        activations.get("qqqqqq")


@pytest.mark.parametrize("spec", [3, Activation, ["relu"], b"relu", np.tanh])
def test_activation_of_a_wrong_type(spec):
    with pytest.raises(TypeError, match="activation must be a name"):
        activations.get(spec)
    with pytest.raises(TypeError, match="activation must be"):
        Activation(spec)


@pytest.mark.parametrize("alpha", [0.0, -0.1])
def test_alpha_must_be_positive_where_it_has_a_meaning(alpha):
    with pytest.raises(ValueError, match=r"alpha of leaky_relu must be above 0, got .*\('leaky_relu', 0.01\)"):
        leaky_relu(alpha)
    with pytest.raises(ValueError, match="alpha of elu must be above 0"):
        elu(alpha)


def test_alpha_must_fit_the_activation():
    with pytest.raises(ValueError, match="alpha of elu must be above 0"):
        Activation("elu")
    with pytest.raises(ValueError, match="alpha has no meaning for relu"):
        Activation("relu", 0.1)
    for alpha in (math.nan, math.inf):
        with pytest.raises(ValueError, match="alpha must be a finite number"):
            elu(alpha)
    for alpha in ("1", True, None):
        with pytest.raises(TypeError, match="alpha must be a number"):
            elu(alpha)


#  initializers

N_IN, N_OUT = 300, 500


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("glorot_uniform", math.sqrt(6 / (N_IN + N_OUT))),
        ("he_uniform", math.sqrt(6 / N_IN)),
        ("lecun_uniform", math.sqrt(3 / N_IN)),
    ],
)
def test_uniform_initializers(name, limit):
    w = initializers.initial_weights(name, Activation("tanh"), N_IN, N_OUT, np.random.default_rng(1))
    assert w.shape == (N_IN, N_OUT)
    assert w.dtype == np.float64
    assert 0.9999 * limit < np.abs(w).max() <= limit
    np.testing.assert_allclose(w.mean(), 0.0, atol=0.01 * limit)
    np.testing.assert_allclose(w.std(), limit / math.sqrt(3), rtol=0.01)


@pytest.mark.parametrize(
    ("name", "std"),
    [
        ("glorot_normal", math.sqrt(2 / (N_IN + N_OUT))),
        ("he_normal", math.sqrt(2 / N_IN)),
        ("lecun_normal", math.sqrt(1 / N_IN)),
    ],
)
def test_normal_initializers(name, std):
    w = initializers.initial_weights(name, Activation("tanh"), N_IN, N_OUT, np.random.default_rng(1))
    assert w.shape == (N_IN, N_OUT)
    assert w.dtype == np.float64
    np.testing.assert_allclose(w.mean(), 0.0, atol=0.01 * std)
    np.testing.assert_allclose(w.std(), std, rtol=0.01)
    assert np.abs(w).max() > 3.5 * std  # not truncated


def test_zeros_draw_no_numbers():
    rng, fresh = np.random.default_rng(5), np.random.default_rng(5)
    w = initializers.initial_weights("zeros", Activation("relu"), 4, 3, rng)
    np.testing.assert_array_equal(w, np.zeros((4, 3)))
    assert rng.random() == fresh.random()


@pytest.mark.parametrize(
    "activation", ["identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "softmax", "gelu", "silu", "mish"]
)
def test_auto_goes_by_the_activation(activation):
    def draw(name):
        return initializers.initial_weights(name, activations.get(activation), 7, 5, np.random.default_rng(0))

    same, other = "he_uniform", "glorot_uniform"
    if activation not in ("relu", "leaky_relu", "elu", "gelu", "silu", "mish"):
        same, other = other, same
    np.testing.assert_array_equal(draw("auto"), draw(same))
    assert not np.array_equal(draw("auto"), draw(other))


def test_auto_of_selu_is_what_its_fixed_point_is_derived_for():
    drawn = [initializers.initial_weights(name, Activation("selu"), 7, 5, np.random.default_rng(0))
             for name in ("auto", "lecun_normal")]  # fmt: skip
    np.testing.assert_array_equal(*drawn)


def test_unknown_initializer():
    with pytest.raises(ValueError, match=r"kernel_initializer .*'he'\. Did you mean 'he_uniform' or 'he_normal'\?"):
        initializers.get("he")
    with pytest.raises(ValueError, match=r"Did you mean 'glorot_uniform'\?"):
        initializers.initial_weights("glorot_unifrom", Activation("relu"), 2, 2, np.random.default_rng())
    with pytest.raises(TypeError, match=r"kernel_initializer must be one of auto, .*, got None"):
        initializers.get(None)


#  layers


def test_dense_resolves_what_it_is_given():
    layer = Dense(np.int32(7), "logistic", kernel_initializer="he_normal", use_bias=np.bool_(False))
    assert layer.units == 7
    assert type(layer.units) is int
    assert layer.activation == Activation("sigmoid")
    assert layer.kernel_initializer == "he_normal"
    assert layer.use_bias is False
    assert Dense(3) == Dense(3, None) == Dense(3, "linear", kernel_initializer="auto", use_bias=True)
    assert Dense(3) != Dense(3, "relu")


def test_dense_is_frozen_hashable_and_copies():
    layer = Dense(4, elu(0.5), use_bias=False)
    with pytest.raises(dataclasses.FrozenInstanceError):
        layer.units = 5
    assert pickle.loads(pickle.dumps(layer)) == copy.deepcopy(layer) == layer
    assert dataclasses.replace(layer, units=9) == Dense(9, elu(0.5), use_bias=False)
    assert len({layer, Dense(4, elu(0.5), use_bias=False)}) == 1


@pytest.mark.parametrize("units", [True, False, 3.0, "3", None, np.float32(2), np.array([1, 2])])
def test_units_must_be_an_integer(units):
    with pytest.raises(TypeError, match="units must be an integer of at least 1"):
        Dense(units)


@pytest.mark.parametrize("units", [0, -1])
def test_units_must_be_positive(units):
    with pytest.raises(ValueError, match=f"units must be at least 1, got {units}"):
        Dense(units)


def test_dense_refuses_other_wrong_arguments():
    with pytest.raises(TypeError, match="use_bias must be True or False, got 1"):
        Dense(3, use_bias=1)
    with pytest.raises(ValueError, match=r"activation must be one of .*, got 'reul'"):
        Dense(3, "reul")
    with pytest.raises(ValueError, match=r"kernel_initializer must be one of .*, got 'ones'"):
        Dense(3, kernel_initializer="ones")
    with pytest.raises(TypeError):
        Dense(3, "relu", "zeros")


def test_integers_are_relu_when_hidden_and_identity_at_the_end():
    expected = (Dense(8, "relu"), Dense(4, "relu"), Dense(2, "identity"))
    assert as_layers([8, 4, 2]) == expected
    assert as_layers((8, np.int64(4), 2)) == expected
    assert as_layers(np.array([8, 4, 2])) == expected
    assert as_layers([5]) == (Dense(5, "identity"),)
    assert as_layers([Dense(8, "tanh"), 4, Dense(2, "softmax")]) == (
        Dense(8, "tanh"),
        Dense(4, "relu"),
        Dense(2, "softmax"),
    )
    assert as_layers([]) == ()


def test_softmax_only_at_the_end():
    with pytest.raises(ValueError, match=r"layers\[1\] has the activation softmax"):
        as_layers([4, Dense(3, "softmax"), 2])


@pytest.mark.parametrize("given", [10, "10", b"10", Dense(3), None, {3, 4}, (n for n in (3, 4))])
def test_layers_must_be_a_sequence(given):
    with pytest.raises(TypeError, match="layers must be a sequence"):
        as_layers(given)


def test_layers_name_the_entry_that_is_wrong():
    with pytest.raises(ValueError, match=r"layers\[1\] must be at least 1, got 0"):
        as_layers([3, 0, 2])
    with pytest.raises(TypeError, match=r"layers\[0\] must be a Dense, a Dropout or an integer of at least 1, got '3'"):
        as_layers(["3", 2])
    with pytest.raises(TypeError, match=r"layers\[2\] must be an integer of at least 1, got True"):
        as_layers([3, 2, True])
    with pytest.raises(TypeError, match=r"layers\[1\] must be .*, got <class .*\. Use an instance, such as Dense"):
        as_layers([3, layers.Dense, 2])


#  losses


@pytest.mark.parametrize(
    ("spec", "name", "code", "classification"),
    [
        ("squared_error", "squared_error", ids.SQUARED_ERROR, False),
        ("mse", "squared_error", ids.SQUARED_ERROR, False),
        ("mean_squared_error", "squared_error", ids.SQUARED_ERROR, False),
        ("sum_of_squares", "sum_of_squares", ids.SUM_OF_SQUARES, False),
        ("half_sum_of_squares", "sum_of_squares", ids.SUM_OF_SQUARES, False),
        ("binary_crossentropy", "binary_crossentropy", ids.BINARY_CROSSENTROPY, True),
        ("bce", "binary_crossentropy", ids.BINARY_CROSSENTROPY, True),
        ("softmax_crossentropy", "softmax_crossentropy", ids.SOFTMAX_CROSSENTROPY, True),
        ("categorical_crossentropy", "softmax_crossentropy", ids.SOFTMAX_CROSSENTROPY, True),
        ("sparse_categorical_crossentropy", "softmax_crossentropy", ids.SOFTMAX_CROSSENTROPY, True),
        (Loss("bce"), "binary_crossentropy", ids.BINARY_CROSSENTROPY, True),
    ],
)
def test_loss(spec, name, code, classification):
    loss = losses.get(spec)
    assert (loss.name, loss.rule.code, loss.classification) == (name, code, classification)


def test_settings_of_losses():
    assert losses.huber() == Loss("huber") == Loss("huber", delta=1)
    assert losses.huber(2).parameters(3) == (2.0, 2.0, 2.0)
    assert Loss("pinball").quantiles == (0.5,)
    three = losses.quantile(0.1, 0.5, 0.9)
    assert (three.outputs_per_target, three.parameters(6)) == (3, (0.1, 0.5, 0.9) * 2)
    assert Loss("gaussian_nll").outputs_per_target == 2
    assert losses.softmax_crossentropy(0.1).parameters(4) == (0.025,) * 4
    for wrong, match in [
        (lambda: losses.huber(0), "delta must be above 0"),
        (lambda: Loss("poisson", delta=1.0), "delta has no meaning for poisson"),
        (lambda: losses.quantile(0.1, 1.0), "above 0 and below 1"),
        (lambda: losses.quantile(0.1, 0.1), "quantiles must be different"),
        (lambda: Loss("squared_error", quantiles=(0.5,)), "quantiles have no meaning"),
        (lambda: losses.softmax_crossentropy(1.0), "at least 0 and below 1"),
        (lambda: Loss("huber", label_smoothing=0.1), "label_smoothing has no meaning for huber"),
    ]:
        with pytest.raises(ValueError, match=match):
            wrong()
    with pytest.raises(TypeError, match="quantiles must be levels such as"):
        Loss("quantile", quantiles=0.5)


def test_targets_in_the_form_of_the_loss():
    t = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    assert losses.get("huber").prepare(t) is t
    np.testing.assert_array_equal(losses.quantile(0.2, 0.8).prepare(t), [[1, 1, 0, 0], [0, 0, 1, 1]])
    np.testing.assert_array_equal(losses.get("gaussian_nll").prepare(t), [[1, 0, 0, 0], [0, 1, 0, 0]])
    smooth = losses.softmax_crossentropy(0.1).prepare(t)
    np.testing.assert_allclose(smooth, [[0.95, 0.05], [0.05, 0.95]], rtol=1e-6)
    assert smooth.dtype == np.float32
    np.testing.assert_allclose(losses.binary_crossentropy(0.2).prepare(t[:, :1]), [[0.9], [0.1]], rtol=1e-6)


def test_unknown_loss():
    with pytest.raises(ValueError, match=r"loss must be one .*, got 'squared_eror'\. Did you mean 'squared_error'\?"):
        losses.get("squared_eror")
    with pytest.raises(TypeError, match="loss must be a name such as 'squared_error', or a Loss, got None"):
        losses.get(None)


#  optimizers


@pytest.mark.parametrize(
    ("spec", "instance", "learning_rate", "code", "n_slots", "settings"),
    [
        ("sgd", SGD(), 0.01, ids.SGD, 0, ()),
        ("momentum", SGD(momentum=0.9), 0.01, ids.MOMENTUM, 1, (0.9,)),
        ("nesterov", SGD(momentum=0.9, nesterov=True), 0.01, ids.NESTEROV, 1, (0.9,)),
        ("adagrad", AdaGrad(), 0.01, ids.ADAGRAD, 1, (1e-10,)),
        ("rmsprop", RMSProp(), 1e-3, ids.RMSPROP, 1, (0.9, 1e-8)),
        ("adam", Adam(), 1e-3, ids.ADAM, 2, (0.9, 0.999, 1e-8)),
        (
            SGD(0.5, momentum=0.3, nesterov=np.bool_(True)),
            SGD(0.5, momentum=0.3, nesterov=True),
            0.5,
            ids.NESTEROV,
            1,
            (0.3,),
        ),
        (AdaGrad(2, epsilon=1e-3), AdaGrad(2.0, epsilon=1e-3), 2.0, ids.ADAGRAD, 1, (1e-3,)),
        (
            RMSProp(0.1, rho=0.5, epsilon=1e-3),
            RMSProp(0.1, rho=0.5, epsilon=1e-3),
            0.1,
            ids.RMSPROP,
            1,
            (0.5, 1e-3),
        ),
        (
            Adam(0.1, beta_1=0, beta_2=0.5, epsilon=1e-3),
            Adam(0.1, beta_1=0.0, beta_2=0.5, epsilon=1e-3),
            0.1,
            ids.ADAM,
            2,
            (0.0, 0.5, 1e-3),
        ),
    ],
)
def test_optimizer(spec, instance, learning_rate, code, n_slots, settings):
    optimizer = optimizers.get(spec)
    assert optimizer == instance
    assert optimizer.learning_rate == learning_rate
    assert optimizer.rule.code == code
    assert optimizer.n_slots == n_slots
    assert optimizer.hyper == settings
    assert all(type(number) is float for number in (optimizer.learning_rate, *optimizer.hyper))


@pytest.mark.parametrize("make", [SGD, AdaGrad, RMSProp, Adam])
def test_learning_rate_is_checked(make):
    for wrong in (0.0, -1e-3):
        with pytest.raises(ValueError, match=f"learning_rate must be above 0, got {wrong!r}"):
            make(wrong)
    for wrong in (math.nan, math.inf, 10**400):
        with pytest.raises(ValueError, match="learning_rate must be a finite number"):
            make(wrong)
    for wrong in ("0.1", None, True, 1j, [0.1]):
        with pytest.raises(TypeError, match="learning_rate must be a number"):
            make(wrong)


@pytest.mark.parametrize(
    ("make", "name"), [(SGD, "momentum"), (RMSProp, "rho"), (Adam, "beta_1"), (Adam, "beta_2")]
)
def test_decays_are_checked(make, name):
    for wrong in (-0.1, 1.0, 1.5):
        with pytest.raises(ValueError, match=f"{name} must be at least 0 and below 1, got {wrong}"):
            make(**{name: wrong})
    with pytest.raises(TypeError, match=f"{name} must be a number"):
        make(**{name: "0.9"})


@pytest.mark.parametrize("make", [AdaGrad, RMSProp, Adam])
def test_epsilon_is_checked(make):
    for wrong in (0.0, -1e-8):
        with pytest.raises(ValueError, match="epsilon must be above 0"):
            make(epsilon=wrong)


def test_nesterov_is_checked():
    with pytest.raises(ValueError, match="nesterov=True needs a momentum above 0"):
        SGD(nesterov=True)
    with pytest.raises(TypeError, match="nesterov must be True or False, got 1"):
        SGD(momentum=0.9, nesterov=1)


def test_optimizers_are_frozen_and_their_options_have_names():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Adam().learning_rate = 1.0
    for make in (SGD, AdaGrad, RMSProp, Adam):
        with pytest.raises(TypeError):
            make(0.1, 0.5)


def test_unknown_optimizer():
    with pytest.raises(ValueError, match=r"optimizer must be one of .*, got 'adann'\. Did you mean 'adam'\?"):
        optimizers.get("adann")
    for wrong in (Adam, None, 1e-3):
        with pytest.raises(TypeError, match="optimizer must be a name"):
            optimizers.get(wrong)


#  regularizers


@pytest.mark.parametrize(
    ("spec", "l1", "l2"),
    [
        (None, 0.0, 0.0),
        ("l1", 0.01, 0.0),
        ("l2", 0.0, 0.01),
        ("l1_l2", 0.01, 0.01),
        (L1(0.5), 0.5, 0.0),
        (L2(1), 0.0, 1.0),
        (L2(0), 0.0, 0.0),
        (L1L2(l1=0.3, l2=np.float64(0.2)), 0.3, 0.2),
    ],
)
def test_regularizer(spec, l1, l2):
    regularizer = regularizers.get(spec)
    assert (regularizer.l1, regularizer.l2) == (l1, l2)
    assert type(regularizer.l1) is type(regularizer.l2) is float


def test_regularizers_are_checked():
    for make, name in ((L1, "l1"), (L2, "l2"), (L1L2, "l1"), (L1L2, "l2")):
        with pytest.raises(ValueError, match=f"{name} must be at least 0, got -0.1"):
            make(**{name: -0.1})
        with pytest.raises(ValueError, match=f"{name} must be a finite number"):
            make(**{name: math.nan})
        with pytest.raises(TypeError, match=f"{name} must be a number"):
            make(**{name: "0.1"})
    with pytest.raises(dataclasses.FrozenInstanceError):
        L2().l2 = 1.0
    with pytest.raises(AttributeError):
        L2().l1 = 1.0


def test_unknown_regularizer():
    with pytest.raises(ValueError, match=r"regularizer must be one of l1, l2, l1_l2, got 'l22'\. Did you mean 'l2'\?"):
        regularizers.get("l22")
    for wrong in (L2, 1e-4):
        with pytest.raises(TypeError, match="regularizer must be an instance such as L2"):
            regularizers.get(wrong)


#  metrics


@pytest.mark.parametrize(
    ("spec", "name", "code"),
    [
        ("accuracy", "accuracy", ids.ACCURACY),
        ("mean_squared_error", "mean_squared_error", ids.MEAN_SQUARED_ERROR),
        ("mse", "mean_squared_error", ids.MEAN_SQUARED_ERROR),
        ("mean_absolute_error", "mean_absolute_error", ids.MEAN_ABSOLUTE_ERROR),
        ("mae", "mean_absolute_error", ids.MEAN_ABSOLUTE_ERROR),
        (Metric("mae"), "mean_absolute_error", ids.MEAN_ABSOLUTE_ERROR),
    ],
)
def test_metric(spec, name, code):
    metric = metrics.get(spec)
    assert (metric.name, metric.code) == (name, code)


def test_accuracy_goes_with_classification_only():
    for name in ("binary_crossentropy", "softmax_crossentropy"):
        assert metrics.get("accuracy", loss=Loss(name)).name == "accuracy"
    for name in ("squared_error", "sum_of_squares"):
        assert metrics.get("mae", loss=Loss(name)).name == "mean_absolute_error"
        for spec in ("accuracy", Metric("accuracy")):
            with pytest.raises(
                ValueError, match=f"'accuracy' needs a loss of classification, got loss='{name}'"
            ):
                metrics.get(spec, loss=Loss(name))


def test_unknown_metric():
    with pytest.raises(ValueError, match=r"metric must be one of .*, got 'acuracy'\. Did you mean 'accuracy'\?"):
        metrics.get("acuracy")
    with pytest.raises(TypeError, match=r"metric must be a name such as 'accuracy', .* or a Metric, got None"):
        metrics.get(None)


#  codes


@pytest.mark.parametrize("registry", [rules.ACTIVATIONS, rules.LOSSES, rules.OPTIMIZERS], ids=lambda one: one.kind)
def test_codes_count_the_rules(registry):
    assert [rule.code for rule in registry] == list(range(len(registry)))
    assert all(registry[name] is rule for rule in registry for name in (rule.name, *rule.aliases))


@pytest.mark.parametrize(
    ("rules_of_kind", "oracle"),
    [
        (rules.ACTIVATIONS, naive.ACTIVATIONS),
        (rules.LOSSES, naive.LOSSES),
        (rules.OPTIMIZERS, naive.OPTIMIZERS),
    ],
)
def test_each_rule_has_an_oracle(rules_of_kind, oracle):
    assert list(oracle) == list(rules_of_kind.names), "tests/naive.py has one entry per rule, in the same order"


@pytest.mark.parametrize(("rules_of_kind", "cls"), [(rules.ACTIVATIONS, Activation), (rules.LOSSES, Loss)])
def test_docstrings_list_the_rules(rules_of_kind, cls):
    for rule in rules_of_kind:
        assert rule.formula in cls.__doc__
        assert all(name in cls.__doc__ for name in (rule.name, *rule.aliases))
    assert "{" not in cls.__doc__


def test_a_taken_name_and_a_late_rule_are_refused():
    registry = rules.Registry("activation")
    with pytest.raises(RuntimeError, match="no activation is registered"):
        registry.freeze()
    first = registry.add(rules.ActivationRule(name="first", aliases=("one",), formula=""))
    assert first.code == 0
    for name, aliases in (("first", ()), ("one", ()), ("second", ("one",))):
        with pytest.raises(ValueError, match="is taken by 'first'"):
            registry.add(rules.ActivationRule(name=name, aliases=aliases, formula=""))
    registry.freeze()
    with pytest.raises(RuntimeError, match="must be registered before the kernels are generated"):
        registry.add(rules.ActivationRule(name="late", formula=""))


def test_names_of_optimizers_are_documented_and_have_the_defaults_of_their_class():
    for name in [*rules.OPTIMIZERS.names, "adamw", "lbfgs", "lm"]:
        assert name in optimizers.get.__doc__
        assert type(optimizers.get(name)).__name__ in optimizers.__all__
    for rule in rules.OPTIMIZERS:
        assert optimizers.get(rule.name).rule is rule


def test_the_start_page_names_rules_that_exist():
    """The complete lists are in the docstrings, which are made from the records; the page may name fewer."""
    text = (Path(fastnn.__file__).parents[1] / "docs" / "start.md").read_text(encoding="utf-8")
    rows = {row.split("|")[1].strip(): row.split("|")[3] for row in text.split("\n") if row.count("|") >= 4}
    named = {kind: set(re.findall(r"\w+", rows[kind].split(";")[0])) for kind in ("activations", "loss E")}
    assert named["activations"] <= set(rules.ACTIVATIONS.names)
    assert named["loss E"] <= set(rules.LOSSES.names)
    assert min(map(len, named.values())) > 5
    assert set(re.findall(r"`(\w+)`", rows["minimization"])) <= set(optimizers.__all__)
