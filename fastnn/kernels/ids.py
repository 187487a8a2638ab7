"""The integer codes that the kernels switch on, and the columns of the tables they read.

A net reaches the compiled code as numbers only, so that one compiled kernel a dtype serves every net.
The upper floor turns words into these codes; nothing else in the package knows the numbers.
"""

# Activations. The derivative is computed from the output y; only for those of NEEDS_INPUT z is kept as well.
IDENTITY = 0
SIGMOID = 1
TANH = 2
RELU = 3
LEAKY_RELU = 4
ELU = 5
SOFTMAX = 6
EXPONENTIAL = 7
SELU = 8
SOFTPLUS = 9
HARD_SIGMOID = 10
SILU = 11
GELU = 12
MISH = 13
CUSTOM_ACTIVATION = 14  # functions of the user's, at addresses
NEEDS_INPUT = (SILU, GELU, MISH, CUSTOM_ACTIVATION)  # y does not tell z

# Losses E(u, t), u being the output of the last layer (logits for the two cross-entropies).
SQUARED_ERROR = 0  # mean over outputs and rows of (u - t)^2
SUM_OF_SQUARES = 1  # 1/2 sum over outputs and rows of (u - t)^2
BINARY_CROSSENTROPY = 2  # mean over outputs and rows
SOFTMAX_CROSSENTROPY = 3  # mean over rows
ABSOLUTE_ERROR = 4  # means over outputs and rows, as all that follow
HUBER = 5
POISSON = 6  # u is the logarithm of the rate
QUANTILE = 7  # a quantile an output
GAUSSIAN_NLL = 8  # the first half of the outputs are means, the second logarithms of variances
CUSTOM_LOSS = 9  # a function of the user's, at an address

# Optimizers.
SGD = 0
MOMENTUM = 1
NESTEROV = 2
ADAGRAD = 3
RMSPROP = 4
ADAM = 5
AMSGRAD = 6
NADAM = 7
LION = 8

# Metrics counted inside the loop, a value a row.
NO_METRIC = 0
ACCURACY = 1
MEAN_SQUARED_ERROR = 2
MEAN_ABSOLUTE_ERROR = 3
