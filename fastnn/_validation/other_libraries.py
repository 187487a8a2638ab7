"""Names of Keras, scikit-learn, PyTorch and MATLAB, and what is written here in their place: tables only."""

from __future__ import annotations

#: For each kind of name other names of what is here; letter case, "_", "-" and spaces make no difference.
NAMES: dict[str, dict[str, str]] = {
    "activation": {
        "logsig": "sigmoid",
        "none": "identity",
        "poslin": "relu",
        "purelin": "identity",
        "tansig": "tanh",
    },
    "loss": {
        "bceloss": "binary_crossentropy",
        "bcewithlogits": "binary_crossentropy",
        "bcewithlogitsloss": "binary_crossentropy",
        "crossentropy": "softmax_crossentropy",
        "crossentropyloss": "softmax_crossentropy",
        "gaussiannllloss": "gaussian_nll",
        "huberloss": "huber",
        "l1loss": "absolute_error",
        "l2loss": "squared_error",
        "mseloss": "squared_error",
        "poissonnllloss": "poisson",
        "smoothl1loss": "huber",
    },
    "metric": {
        "acc": "accuracy",
        "binary_accuracy": "accuracy",
        "categorical_accuracy": "accuracy",
        "sparse_categorical_accuracy": "accuracy",
    },
    "optimizer": {
        "levenberg_marquardt": "lm",
        "traingd": "sgd",
        "traingdm": "momentum",
        "trainlm": "lm",
    },
    "kernel_initializer": {
        "kaiming_normal": "he_normal",
        "kaiming_uniform": "he_uniform",
        "xavier_normal": "glorot_normal",
        "xavier_uniform": "glorot_uniform",
    },
}

#: For each kind of name those that are not here, and what to write instead.
NO_NAMES: dict[str, dict[str, str]] = {
    "loss": {
        "hinge": "For classes use 'binary_crossentropy' or 'softmax_crossentropy'.",
        "kldivergence": "Use 'softmax_crossentropy' with rows of probabilities as targets.",
        "kldivloss": "Use 'softmax_crossentropy' with rows of probabilities as targets.",
        "logloss": "Use 'softmax_crossentropy', or 'binary_crossentropy' for one output per class.",
        "nll": "For classes use 'softmax_crossentropy'; for a mean and its variance 'gaussian_nll'.",
        "nllloss": "For classes use 'softmax_crossentropy'; for a mean and its variance 'gaussian_nll'.",
    },
    "metric": {
        "auc": "Give a function: Metric('auc', sklearn.metrics.roc_auc_score).",
        "f1": "Give a function: Metric('f1', sklearn.metrics.f1_score).",
        "precision": "Give a function: sklearn.metrics.precision_score.",
        "recall": "Give a function: sklearn.metrics.recall_score.",
    },
    "optimizer": {
        "adadelta": "Use 'adam' or 'rmsprop'.",
        "adamax": "Use 'adam'.",
        "ftrl": "Use 'adagrad'.",
        "trainbr": "Use 'lm' with regularizer='l2'.",
        "trainscg": "Use 'lbfgs'.",
    },
}

#: Keywords of other libraries, each with those that may stand for it here; the first that the call has is named.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "alpha": ("rho", "regularizer"),
    "batch": ("batch_size",),
    "batchsize": ("batch_size",),
    "base_lr": ("learning_rate",),
    "beta1": ("beta_1",),
    "beta2": ("beta_2",),
    "bias": ("use_bias",),
    "class_weights": ("class_weight",),
    "clip_value": ("clipvalue",),
    "clipnorm": ("global_clipnorm",),
    "criterion": ("loss",),
    "damping": ("mu",),
    "drop_rate": ("rate", "dropout"),
    "dropout_rate": ("rate", "dropout"),
    "early_stopping": ("callbacks",),
    "eps": ("epsilon",),
    "eta_min": ("min_lr",),
    "eval_set": ("validation_data",),
    "hidden_layer_sizes": ("layers",),
    "history_size": ("maxcor",),
    "initial_learning_rate": ("learning_rate",),
    "kernel_constraint": ("max_norm",),
    "kernel_regularizer": ("regularizer",),
    "learning_rate_init": ("learning_rate",),
    "loss_fn": ("loss",),
    "loss_function": ("loss",),
    "lr": ("learning_rate",),
    "max_epochs": ("epochs",),
    "max_grad_norm": ("global_clipnorm",),
    "max_iter": ("epochs",),
    "max_lr": ("learning_rate",),
    "n_epochs": ("epochs",),
    "n_iter": ("epochs",),
    "n_iter_no_change": ("patience",),
    "n_jobs": ("n_threads",),
    "n_units": ("units",),
    "nb_epoch": ("epochs",),
    "num_epochs": ("epochs",),
    "out_features": ("units",),
    "p": ("rate", "dropout"),
    "penalty": ("regularizer",),
    "period": ("save_freq",),
    "random_seed": ("seed",),
    "random_state": ("seed",),
    "sample_weights": ("sample_weight",),
    "solver": ("optimizer",),
    "T_0": ("epochs",),
    "T_max": ("epochs",),
    "T_mult": ("t_mult",),
    "tol": ("min_delta", "ftol"),
    "tolerance_change": ("ftol",),
    "tolerance_grad": ("gtol",),
    "val_data": ("validation_data",),
    "val_split": ("validation_split",),
    "validation_fraction": ("validation_split",),
    "warmup_epochs": ("warmup",),
    "warmup_steps": ("warmup",),
    "weight_decay": ("regularizer",),
    "weights_only": ("save_weights_only",),
    "X_val": ("validation_data",),
}

_INPUT_WIDTH = "The width of the input follows from the data, or from model.build(n_features). Leave it out."
_OF_FIT = "It is an argument of fit."
_OF_MODEL = "It is an argument of Model."
_PASS = "An epoch is one pass over X. For data in parts there are partial_fit and train_on_batch."
_PENALTY = "Penalties are those of the whole model: Model(..., regularizer=L2(1e-4))."
_NO_BATCHES = (
    "There are no calls between batches, as an epoch is compiled code. For work between steps use "
    "Model.train_on_batch in a loop."
)

#: Hooks of callbacks that are not called here, and what to do instead.
HOOKS: dict[str, str] = {
    **{f"on_{kind}batch_{end}": _NO_BATCHES
       for kind in ("", "train_", "test_", "predict_") for end in ("begin", "end")},
    **{f"on_{kind}_{end}": "Validation ends before on_epoch_end, whose logs have its values."
       for kind in ("test", "predict") for end in ("begin", "end")},
}  # fmt: skip

#: Keywords of other libraries that a call does not have under any name, and what to write instead.
KEYWORDS: dict[str, str] = {
    "activity_regularizer": _PENALTY,
    "batch_input_shape": _INPUT_WIDTH,
    "batch_size": _OF_FIT,
    "betas": "Write beta_1=0.9, beta_2=0.999.",
    "bias_initializer": "Biases start from zero. Leave it out.",
    "bias_regularizer": _PENALTY,
    "callbacks": _OF_FIT,
    "decay": "A rate that falls is a schedule: Adam(fastnn.schedules.Cosine(1e-3, epochs=20)).",
    "decay_steps": "Schedules count epochs, not steps: write epochs.",
    "device": "Everything runs on the CPU. Leave it out.",
    "early_stopping": "Write callbacks=EarlyStopping(patience=10) in fit.",
    "epochs": _OF_FIT,
    "from_logits": "The cross-entropies are computed from logits in any case. Leave it out.",
    "in_features": _INPUT_WIDTH,
    "initial_epoch": "A model counts its epochs over all fits. Leave it out; epochs is the number of further epochs.",
    "input_dim": _INPUT_WIDTH,
    "input_shape": _INPUT_WIDTH,
    "input_size": _INPUT_WIDTH,
    "jit_compile": "Everything is compiled. Leave it out.",
    "kernel_regularizer": _PENALTY,
    "learning_rate": "The rate is an argument of the optimizer: Model(..., optimizer=Adam(learning_rate=1e-3)).",
    "loss": _OF_MODEL,
    "lr": "The rate is an argument of the optimizer: Model(..., optimizer=Adam(learning_rate=1e-3)).",
    "lr_scheduler": "The optimizer takes a schedule: Adam(fastnn.schedules.Cosine(1e-3, epochs=20)).",
    "metrics": _OF_MODEL,
    "momentum": "It is an argument of an optimizer: Model(..., optimizer=SGD(0.01, momentum=0.9)).",
    "name": "Layers and models have no names. Leave it out.",
    "optimizer": _OF_MODEL,
    "patience": "Write callbacks=EarlyStopping(patience=10) in fit.",
    "reduction": "A loss is the mean over the rows of a batch ('sum_of_squares' is a sum). Leave it out.",
    "return_dict": "The result is a dict in any case. Leave it out.",
    "run_eagerly": "Everything is compiled. Leave it out.",
    "save_weights_only": "A file holds the whole model. Leave it out.",
    "seed": "It is an argument of Model.",
    "steps_per_epoch": _PASS,
    "total_steps": "Schedules count epochs, not steps: write epochs.",
    "use_ema": "Write ema_momentum=0.99.",
    "use_multiprocessing": "Threads are used in any case, see n_threads of Model. Leave it out.",
    "validation_batch_size": "The result does not depend on it. Leave it out.",
    "validation_data": _OF_FIT,
    "validation_freq": "Each epoch ends with a validation. Leave it out.",
    "validation_split": _OF_FIT,
    "validation_steps": "All rows are evaluated. Leave it out.",
    "verbose": "Only fit has a display. Leave it out.",
    **HOOKS,
    "workers": "Threads are used in any case, see n_threads of Model. Leave it out.",
}

_ARGUMENTS = "Loss, optimizer and metrics are arguments of Model: Model([64, 10], loss=..., optimizer=...)."
_LAYERS = "Layers are the first argument of Model: Model([Dense(64, 'relu'), 10], loss=...)."
_MODES = "Leave it out: dropout is active in fit and train_on_batch only."
_PARAMETERS = "Use model.weights and model.biases."
_RATE = "Write model.optimizer = Adam(learning_rate=1e-3), or another optimizer with its rate."
_PARTS = "For data in parts there are partial_fit and train_on_batch."
_SET_PARAMETERS = "Write model.weights = [...] and model.biases = [...]; fastnn.load reads a file."

#: Attributes of models of other libraries, and what to write instead.
MODEL_ATTRIBUTES: dict[str, str] = {
    "add": _LAYERS,
    "backward": "model.gradient(X, y) returns the loss and its gradients; train_on_batch makes a step.",
    "batch_size": "It is an argument of fit.",
    "callbacks": "They are an argument of fit.",
    "classes_": "fastnn.MLPClassifier has it; the classes of a Model are the labels 0, 1, ...",
    "coefs_": "Use model.weights.",
    "compile": _ARGUMENTS,
    "count_params": "Use model.n_params.",
    "epochs": "It is an argument of fit.",
    "eval": _MODES,
    "evaluate_generator": "Use evaluate.",
    "fit_generator": _PARTS,
    "forward": "Use predict.",
    "get_layer": "Use model.layers[k].",
    "get_weights": _PARAMETERS,
    "input_shape": "Use model.n_features.",
    "intercepts_": "Use model.biases.",
    "learning_rate": _RATE,
    "load": "Use fastnn.load(path).",
    "load_state_dict": _SET_PARAMETERS,
    "load_weights": _SET_PARAMETERS,
    "loss_curve_": "Use model.history['loss'].",
    "lr": _RATE,
    "named_parameters": _PARAMETERS,
    "output_shape": "Use model.n_outputs.",
    "parameters": _PARAMETERS,
    "plot": "Use model.history.plot().",
    "pop": _LAYERS,
    "predict_generator": "Use predict.",
    "predict_on_batch": "Use predict.",
    "save_weights": "Use save(path), which writes the whole model.",
    "score": "Use evaluate.",
    "set_weights": _SET_PARAMETERS,
    "state_dict": "Use model.weights and model.biases, or save(path).",
    "test_on_batch": "Use evaluate.",
    "to": "A model runs on the CPU; its precision is Model(..., dtype='float64').",
    "train": _MODES,
    "trainable_variables": _PARAMETERS,
    "trainable_weights": _PARAMETERS,
    "verbose": "It is an argument of fit.",
    "zero_grad": "Leave it out: gradients are not accumulated.",
}

_NO_LAYER = "The layers are Dense and Dropout; scale X before, for instance by sklearn.preprocessing.StandardScaler."
_ONLY_DENSE = "The layers are Dense and Dropout."

#: Names in the modules of other libraries, and what to write instead.
PUBLIC_NAMES: dict[str, str] = {
    "Activation": "Give a name to the layer: Dense(64, 'relu').",
    "BatchNorm1d": _NO_LAYER,
    "BatchNormalization": _NO_LAYER,
    "Conv2D": _ONLY_DENSE,
    "CrossEntropyLoss": "Write loss='softmax_crossentropy'.",
    "Flatten": "X has two dimensions: X.reshape(len(X), -1).",
    "Input": "Leave it out: the width of the input follows from the data.",
    "InputLayer": "Leave it out: the width of the input follows from the data.",
    "LayerNorm": _NO_LAYER,
    "LayerNormalization": _NO_LAYER,
    "Linear": "Write Dense(units).",
    "MLP": "Write Model([64, 10], loss=...), or MLPClassifier and MLPRegressor.",
    "MSELoss": "Write loss='squared_error'.",
    "NeuralNetwork": "Write Model([64, 10], loss=...).",
    "ReLU": "Give a name to the layer: Dense(64, 'relu').",
    "Sequential": "Write Model([Dense(64, 'relu'), 10], loss=...).",
    "Softmax": "Give a name to the layer: Dense(10, 'softmax').",
    "load_model": "Write fastnn.load(path).",
    "nn": _LAYERS,
    "optim": "Optimizers are in fastnn: fastnn.Adam(1e-3).",
    "save_model": "Write model.save(path).",
    "sequential": "Write Model([Dense(64, 'relu'), 10], loss=...).",
    "to_categorical": "Leave it out: 'softmax_crossentropy' takes labels 0, 1, ... as they are.",
    "train_test_split": "Use sklearn.model_selection.train_test_split, or validation_split of fit.",
}

#: Ends of file names that promise another format.
SUFFIXES = (".h5", ".hdf5", ".joblib", ".json", ".keras", ".mat", ".onnx", ".pickle", ".pkl", ".pt", ".pth",
            ".safetensors")  # fmt: skip
