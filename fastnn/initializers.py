"""Initializers: the weights that training starts from. Biases start from zero.

A distribution's width is chosen so that the variance of the signal, of the gradient, or of a mean of both,
is kept from layer to layer.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fastnn._validation.names import resolved_name
from fastnn.activations import Activation

__all__ = ["get", "initial_weights"]


def __dir__() -> list[str]:
    return __all__


_NAMES = (
    "auto",
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "lecun_uniform",
    "lecun_normal",
    "zeros",
)


def get(name: str) -> str:
    """Check the name of an initializer.

    Parameters
    ----------
    name : str
        auto, glorot_uniform, glorot_normal, he_uniform, he_normal, lecun_uniform, lecun_normal or zeros.

    Returns
    -------
    str
        The same name.

    Raises
    ------
    TypeError
        If `name` is no string.
    ValueError
        If it is unknown.
    """
    return resolved_name("kernel_initializer", name, _NAMES, {})


def initial_weights(
    name: str, activation: Activation, n_in: int, n_out: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw the first weights of a layer.

    Parameters
    ----------
    name : str
        The initializer. "auto" is what the record of the activation names: he_uniform for rectifiers and smooth forms
        of them, lecun_normal for selu, glorot_uniform for the others.
    activation : Activation
        The layer's activation; read for "auto" alone.
    n_in, n_out : int
        Inputs and outputs of the layer (fan-in and fan-out).
    rng : numpy.random.Generator
        Where the random numbers come from; n_in * n_out of them are drawn, for "zeros" none.

    Returns
    -------
    numpy.ndarray, shape (n_in, n_out), float64
        The weights: uniform within +-limit, or normal with mean 0 and the standard deviation (not truncated).

        ======  ========================  =======================
        name    limit                     standard deviation
        ======  ========================  =======================
        glorot  sqrt(6 / (n_in + n_out))  sqrt(2 / (n_in + n_out))
        he      sqrt(6 / n_in)            sqrt(2 / n_in)
        lecun   sqrt(3 / n_in)            sqrt(1 / n_in)
        ======  ========================  =======================

    Raises
    ------
    TypeError, ValueError
        If the name is unknown.

    References
    ----------
    glorot: X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks",
    AISTATS, 2010, eq. 16 (uniform) and 12 (variance).
    he: K. He, X. Zhang, S. Ren, J. Sun, "Delving deep into rectifiers", ICCV, 2015, eq. 10.
    lecun: Y. LeCun, L. Bottou, G. B. Orr, K.-R. Müller, "Efficient BackProp", in Neural Networks: Tricks of
    the Trade, Springer, 1998, section 4.6.
    """
    name = get(name)
    if name == "auto":
        name = activation.rule.initializer
    if name == "zeros":
        return np.zeros((n_in, n_out))
    family, distribution = name.split("_")
    variance = {"glorot": 2.0 / (n_in + n_out), "he": 2.0 / n_in, "lecun": 1.0 / n_in}[family]
    if distribution == "normal":
        return math.sqrt(variance) * rng.standard_normal((n_in, n_out))
    limit = math.sqrt(3.0 * variance)  # a uniform distribution within +-a has the variance a^2 / 3
    return rng.uniform(-limit, limit, (n_in, n_out))
