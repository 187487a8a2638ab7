"""Reference implementation of a multilayer perceptron in plain NumPy, with which the compiled code is compared.

Whole matrices, textbook formulas, derivatives taken from the pre-activations, no padding, no tiles. All
arithmetic is in the dtype of the given arrays (float64, except in tests of float32).

Letters: n rows, I fan-in, O fan-out, L layers.
"""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass

import ids
import numpy as np
from scipy import special

from fastnn.kernels.nn import rules

SELU_SCALE = 1.0507009873554805
SELU_ALPHA = 1.6732632423543772

# ------------------------------------------------------------------------------------------- activations


def sigmoid(z):
    """1 / (1 + e^-z) without overflow: the exponent is never positive."""
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1 / (1 + e), e / (1 + e))


def softmax(z):
    """Rows of e^z over their sum; (n, O)."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def rectified(z, below):
    """z where it is above 0, else `below`; NaN is neither."""
    return np.where(z > 0, z, below)


def expm1_below(z):
    """e^z - 1 for z < 0, without overflow above."""
    return np.expm1(np.minimum(z, 0))


def limited(z):
    """z without minus infinity, whose product with 0 would be NaN."""
    return np.maximum(z, -1e5)


def softmax_backward(z, d):
    """Product with the Jacobian of each row."""
    rows = [(np.diag(p) - np.outer(p, p)) @ g for p, g in zip(softmax(z), d, strict=True)]
    return np.array(rows, z.dtype)


def mish_slope(z):
    """tanh(s) + z (1 - tanh(s)^2) sigmoid(z) with s = ln(1 + e^z)."""
    s = np.logaddexp(0.0, z)
    return np.tanh(s) + z * sigmoid(z) / np.cosh(np.minimum(s, 80)) ** 2


#: f(z, alpha) and its derivative at z of each rule, by name. Softmax is not taken element by element.
ACTIVATIONS = {
    "identity": (lambda z, _: z, lambda z, _: np.ones_like(z)),
    "sigmoid": (lambda z, _: sigmoid(z), lambda z, _: sigmoid(z) * sigmoid(-z)),
    "tanh": (lambda z, _: np.tanh(z), lambda z, _: 4 * sigmoid(2 * z) * sigmoid(-2 * z)),
    "relu": (lambda z, _: rectified(z, np.zeros_like(z)), lambda z, _: (z > 0).astype(z.dtype)),
    "leaky_relu": (
        lambda z, alpha: rectified(z, alpha * z),
        lambda z, alpha: np.where(z > 0, np.ones_like(z), alpha * np.ones_like(z)),
    ),
    "elu": (
        lambda z, alpha: rectified(z, alpha * expm1_below(z)),
        lambda z, alpha: np.where(z > 0, np.ones_like(z), alpha * np.exp(np.minimum(z, 0))),
    ),
    "softmax": (lambda z, _: softmax(z), None),
    "exponential": (lambda z, _: np.exp(z), lambda z, _: np.exp(z)),
    "selu": (
        lambda z, _: SELU_SCALE * rectified(z, SELU_ALPHA * expm1_below(z)),
        lambda z, _: SELU_SCALE * np.where(z > 0, np.ones_like(z), SELU_ALPHA * np.exp(np.minimum(z, 0))),
    ),
    "softplus": (lambda z, _: np.logaddexp(0.0, z), lambda z, _: sigmoid(z)),
    "hard_sigmoid": (
        lambda z, _: np.clip(z / 6 + 0.5, 0, 1),
        lambda z, _: np.where(np.abs(z) < 3, np.ones_like(z) / 6, 0 * z),
    ),
    "silu": (lambda z, _: limited(z) * sigmoid(z), lambda z, _: sigmoid(z) + z * sigmoid(z) * sigmoid(-z)),
    "gelu": (
        lambda z, _: limited(z) * special.ndtr(z),
        lambda z, _: special.ndtr(z) + z * np.exp(-z * z / 2) / np.sqrt(2 * np.pi),
    ),
    "mish": (lambda z, _: limited(z) * np.tanh(np.logaddexp(0.0, z)), lambda z, _: mish_slope(z)),
}


def activation(code, alpha, z):
    """f(z); (n, O)."""
    return ACTIVATIONS[rules.ACTIVATIONS.names[code]][0](z, alpha)


def activation_backward(code, alpha, z, dy):
    """dE/dz from dE/dy = `dy`, by the derivative at z; (n, O)."""
    slope = ACTIVATIONS[rules.ACTIVATIONS.names[code]][1]
    return softmax_backward(z, dy) if slope is None else dy * slope(z, alpha)


# ------------------------------------------------------------------------------------------------ losses


def one_hot(labels, n_classes, dtype):
    """Rows with a 1 at the label; (n, O)."""
    t = np.zeros((len(labels), n_classes), dtype)
    t[np.arange(len(labels)), labels] = 1
    return t


def log_softmax(u):
    """Logarithm of the softmax of rows; (n, O)."""
    shifted = u - u.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def gaussian_parts(u, t):
    """Means, logarithms of variances, and targets; (n, O / 2) each."""
    half = u.shape[1] // 2
    return u[:, :half], u[:, half:], t[:, :half]


def gaussian_rows(u, t):
    """(s + (m - t)^2 e^-s) / 2, the mean over the targets."""
    m, s, t = gaussian_parts(u, t)
    return (s + (m - t) ** 2 / np.exp(s)).mean(axis=1) / 2


def gaussian_gradient(u, t):
    """Its derivatives by means and logarithms of variances."""
    m, s, t = gaussian_parts(u, t)
    return np.hstack([(m - t) / np.exp(s), 0.5 - 0.5 * (m - t) ** 2 / np.exp(s)]) / m.shape[1]


def huber_values(e, p):
    """Squares up to p, lines beyond."""
    return np.where(np.abs(e) <= p, e**2 / 2, p * (np.abs(e) - p / 2))


def quantile_slopes(e, p):
    """1 - p above the target, -p below it."""
    return np.where(e > 0, 1 - p, np.where(e < 0, -p * np.ones_like(e), 0 * e))


#: For each rule, by name: loss of each row (n,) of outputs u, targets t (n, O) and parameters p of the outputs; and its
#: gradient with respect to u (n, O).
LOSSES = {
    "squared_error": (
        lambda u, t, p: ((u - t) ** 2).mean(axis=1),
        lambda u, t, p: 2 * (u - t) / u.shape[1],
    ),
    "sum_of_squares": (lambda u, t, p: ((u - t) ** 2).sum(axis=1) / 2, lambda u, t, p: u - t),
    "binary_crossentropy": (
        lambda u, t, p: (np.logaddexp(0 * u, u) - t * u).mean(axis=1),
        lambda u, t, p: (sigmoid(u) - t) / u.shape[1],
    ),
    "softmax_crossentropy": (
        lambda u, t, p: -(t * log_softmax(u)).sum(axis=1),
        lambda u, t, p: softmax(u) * t.sum(axis=1, keepdims=True) - t,
    ),
    "absolute_error": (lambda u, t, p: np.abs(u - t).mean(axis=1), lambda u, t, p: np.sign(u - t) / u.shape[1]),
    "huber": (
        lambda u, t, p: huber_values(u - t, p).mean(axis=1),
        lambda u, t, p: np.clip(u - t, -p, p) / u.shape[1],
    ),
    "poisson": (lambda u, t, p: (np.exp(u) - t * u).mean(axis=1), lambda u, t, p: (np.exp(u) - t) / u.shape[1]),
    "quantile": (
        lambda u, t, p: np.maximum(p * (t - u), (1 - p) * (u - t)).mean(axis=1),
        lambda u, t, p: quantile_slopes(u - t, p) / u.shape[1],
    ),
    "gaussian_nll": (lambda u, t, p: gaussian_rows(u, t), lambda u, t, p: gaussian_gradient(u, t)),
}


def loss_rows(loss, u, t, p=0.0):
    """Loss of each row, from the outputs u and targets t (n, O), with the outputs' parameters p; (n,)."""
    return LOSSES[rules.LOSSES.names[loss]][0](u, t, p)


def loss_rows_backward(loss, u, t, p=0.0):
    """Gradient of each row's loss with respect to its outputs; (n, O)."""
    return LOSSES[rules.LOSSES.names[loss]][1](u, t, p)


def metric_rows(metric, u, t, *, loss, output_activation):
    """Metric of each row; `u` is what the loss sees; (n,)."""
    if metric == ids.MEAN_SQUARED_ERROR:
        return ((u - t) ** 2).mean(axis=1)
    if metric == ids.MEAN_ABSOLUTE_ERROR:
        return np.abs(u - t).mean(axis=1)
    if metric == ids.ACCURACY:
        if loss == ids.SOFTMAX_CROSSENTROPY or output_activation == ids.SOFTMAX:
            return (u.argmax(axis=1) == t.argmax(axis=1)).astype(u.dtype)
        threshold = 0.5 if output_activation == ids.SIGMOID else 0.0
        return ((u > threshold) == (t > 0.5)).mean(axis=1)
    raise ValueError(metric)


# ------------------------------------------------------------------------------------------- the whole net


@dataclass
class Net:
    """Weights and what is done with them.

    Parameters
    ----------
    weights, biases : (L,) arrays (I, O) and (O,)
    activations : (L,) pairs of code and alpha
    use_bias : (L,)
    penalties : (L,) pairs l1, l2
    loss : code
    fused_output : whether the loss takes what comes before the last activation
    loss_parameters : (O,) or one for all
    """

    weights: list
    biases: list
    activations: list
    use_bias: list
    penalties: list
    loss: int
    fused_output: bool
    loss_parameters: object = 0.0

    def copy(self):
        """Net with weights of its own."""
        return copy.deepcopy(self)

    def astype(self, dtype):
        """Net with weights of another type."""
        net = self.copy()
        net.weights = [w.astype(dtype) for w in net.weights]
        net.biases = [b.astype(dtype) for b in net.biases]
        return net

    @property
    def trained_activations(self):
        """Activations as the loss sees them."""
        if self.fused_output:
            return [*self.activations[:-1], (ids.IDENTITY, 0.0)]
        return self.activations


def forward(net, x, activations, masks=None):
    """Pre-activations and outputs of all layers; `outputs[0]` is x. `masks` are factors of dropout on the inputs."""
    zs, outputs = [], [x]
    for k, (w, b, (code, alpha)) in enumerate(zip(net.weights, net.biases, activations, strict=True)):
        zs.append((outputs[-1] if masks is None else outputs[-1] * masks[k]) @ w + b)
        outputs.append(activation(code, alpha, zs[-1]))
    return zs, outputs


def predict(net, x):
    """f(x), the last activation included; (n, O)."""
    return forward(net, x, net.activations)[1][-1]


def outputs(net, x):
    """What the loss sees; (n, O)."""
    return forward(net, x, net.trained_activations)[1][-1]


def penalty(net):
    """Sum over layers of l1 sum |w| + l2 sum w^2, biases left out."""
    return sum(l1 * np.abs(w).sum() + l2 * (w**2).sum() for w, (l1, l2) in zip(net.weights, net.penalties, strict=True))


def row_shares(net, sample_weight):
    """What each row's loss counts in the batch: w / sum w, but w for the sum of squares; (n,)."""
    if net.loss == ids.SUM_OF_SQUARES:
        return sample_weight
    total = sample_weight.sum()
    return sample_weight / total if total > 0 else sample_weight


def objective(net, x, t, sample_weight):
    """E + R of one batch."""
    rows = loss_rows(net.loss, outputs(net, x), t, net.loss_parameters)
    return (row_shares(net, sample_weight) * rows).sum() + penalty(net)


def gradient(net, x, t, sample_weight, masks=None):
    """Gradient of E + R with respect to all weights and biases: two lists."""
    return back_propagate(net, x, t, sample_weight, masks)[:2]


def back_propagate(net, x, t, sample_weight, masks=None):
    """Gradient of E + R with respect to all weights, biases and features, by plain back-propagation."""
    activations = net.trained_activations
    zs, ys = forward(net, x, activations, masks)
    d = loss_rows_backward(net.loss, ys[-1], t, net.loss_parameters) * row_shares(net, sample_weight)[:, None]
    d_weights, d_biases = [], []
    for k in reversed(range(len(net.weights))):
        d = activation_backward(*activations[k], zs[k], d)
        l1, l2 = net.penalties[k]
        w = net.weights[k]
        y = ys[k] if masks is None else ys[k] * masks[k]
        d_weights.insert(0, y.T @ d + l1 * np.sign(w) + 2 * l2 * w)
        d_biases.insert(0, d.sum(axis=0) if net.use_bias[k] else 0 * net.biases[k])
        d = d @ w.T if masks is None else d @ w.T * masks[k]
    return d_weights, d_biases, d


# --------------------------------------------------------------------------------------------- optimizers


def momentum(state, w, g, m, mu, *, ahead=False):
    """Polyak, 1964; `ahead` is Nesterov's form (Sutskever et al., 2013)."""
    m[...] = mu * m + g
    w -= state.learning_rate * (g + mu * m if ahead else m)


def descent(state, w, g):
    """Robbins, Monro, 1951."""
    w -= state.learning_rate * g


def adagrad(state, w, g, m, epsilon):
    """Duchi et al., 2011."""
    m[...] = m + g**2
    w -= state.learning_rate * g / (np.sqrt(m) + epsilon)


def rmsprop(state, w, g, m, rho, epsilon):
    """Tieleman, Hinton, 2012."""
    m[...] = rho * m + (1 - rho) * g**2
    w -= state.learning_rate * g / (np.sqrt(m) + epsilon)


def means(g, m, v, b1, b2):
    """Running means of the gradient and of its square."""
    m[...] = b1 * m + (1 - b1) * g
    v[...] = b2 * v + (1 - b2) * g**2


def adam(state, w, g, m, v, b1, b2, epsilon):
    """Kingma, Ba, 2015, algorithm 1."""
    means(g, m, v, b1, b2)
    m_hat = m / (1 - b1**state.t)
    v_hat = v / (1 - b2**state.t)
    w -= state.learning_rate * m_hat / (np.sqrt(v_hat) + epsilon)


def amsgrad(state, w, g, m, v, top, b1, b2, epsilon):
    """Reddi et al., 2018, with Adam's corrections."""
    means(g, m, v, b1, b2)
    top[...] = np.maximum(top, v)
    w -= state.learning_rate * m / (1 - b1**state.t) / (np.sqrt(top / (1 - b2**state.t)) + epsilon)


def nadam(state, w, g, m, v, b1, b2, epsilon):
    """Dozat, 2016."""
    means(g, m, v, b1, b2)
    mu = [b1 * (1 - 0.5 * 0.96 ** (0.004 * t)) for t in range(1, state.t + 2)]
    product = np.prod(mu[:-1])
    bar = mu[-1] * m / (1 - product * mu[-1]) + (1 - mu[-2]) * g / (1 - product)
    w -= state.learning_rate * bar / (np.sqrt(v / (1 - b2**state.t)) + epsilon)


def lion(state, w, g, m, b1, b2):
    """Chen et al., 2023."""
    w -= state.learning_rate * np.sign(b1 * m + (1 - b1) * g)
    m[...] = b2 * m + (1 - b2) * g


#: One update of an array w by its gradient g, by the formula of the paper: rule(state, w, g, *slots, *hyper), which
#: overwrites w and the slots. `state` has the learning rate and t, the number of the update from 1.
OPTIMIZERS = {
    "sgd": descent,
    "momentum": momentum,
    "nesterov": functools.partial(momentum, ahead=True),
    "adagrad": adagrad,
    "rmsprop": rmsprop,
    "adam": adam,
    "amsgrad": amsgrad,
    "nadam": nadam,
    "lion": lion,
}


class Optimizer:
    """One of the rules, with its slots for any number of arrays."""

    def __init__(
        self, code, learning_rate, hyper=(), *, weight_decay=0.0, clip_value=0.0, clip_norm=0.0
    ):
        self.rule = list(rules.OPTIMIZERS)[code]
        self.learning_rate, self.hyper = learning_rate, hyper
        self.weight_decay, self.clip_value, self.clip_norm = weight_decay, clip_value, clip_norm
        self.t = 0
        self.slots = {}

    def step(self, arrays, gradients):
        """Change the arrays in place."""
        self.t += 1
        if self.clip_norm:
            length = np.sqrt(sum((g**2).sum() for g in gradients))
            gradients = [g * min(1.0, self.clip_norm / length) for g in gradients]
        if self.clip_value:
            gradients = [np.clip(g, -self.clip_value, self.clip_value) for g in gradients]
        for k, (w, g) in enumerate(zip(arrays, gradients, strict=True)):
            slots = self.slots.setdefault(k, tuple(np.zeros_like(w) for _ in self.rule.slots))
            w *= 1 - self.learning_rate * self.weight_decay
            OPTIMIZERS[self.rule.name](self, w, g, *slots, *self.hyper)


@dataclass
class Sums:
    """What an epoch adds up to: see `fastnn._engine.engine.Sums`."""

    loss: float = 0.0
    weight: float = 0.0
    metrics: tuple = ()
    penalty: float = 0.0
    steps: int = 0


def evaluate(net, x, t, sample_weight, metrics=()):
    """Sums over all rows; no penalty."""
    u = outputs(net, x)
    last = net.trained_activations[-1][0]
    rows = [metric_rows(metric, u, t, loss=net.loss, output_activation=last) for metric in metrics]
    return Sums(
        loss=float((sample_weight * loss_rows(net.loss, u, t, net.loss_parameters)).sum()),
        weight=float(sample_weight.sum()),
        metrics=tuple(float((sample_weight * row).sum()) for row in rows),
        steps=1,
    )


def train_epoch(net, x, t, sample_weight, *, batch, optimizer, order=None, metrics=()):
    """One pass in mini-batches; changes the net; losses are those before each step."""
    order = np.arange(len(x)) if order is None else order
    sums = Sums(metrics=(0.0,) * len(metrics))
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        part = evaluate(net, x[rows], t[rows], sample_weight[rows], metrics)
        sums.loss += part.loss
        sums.weight += part.weight
        sums.metrics = tuple(a + b for a, b in zip(sums.metrics, part.metrics, strict=True))
        sums.penalty += float(penalty(net))
        sums.steps += 1
        d_weights, d_biases = gradient(net, x[rows], t[rows], sample_weight[rows])
        optimizer.step([*net.weights, *net.biases], [*d_weights, *d_biases])
    return sums


# ------------------------------------------------------------------------------------------ random numbers

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15


def mix(x):
    """SplitMix64's mixer (Steele, Lea, Flood, 2014, figure 19), in Python's integers."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def permutation(n, seed, epoch):
    """Permutation of 0..n-1 of a seed and an epoch, by Fisher and Yates; list."""
    key = mix((mix(seed & _MASK) + epoch * _GOLDEN) & _MASK)
    order = list(range(n))
    for i in range(n - 1, 0, -1):
        bits = mix((key + (i + 1) * _GOLDEN) & _MASK) >> 32
        j = (bits * (i + 1)) >> 32
        order[i], order[j] = order[j], order[i]
    return order
