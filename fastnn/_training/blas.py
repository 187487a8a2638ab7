"""Thread limit of the BLAS and LAPACK behind SciPy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS and LAPACK to one thread, where threadpoolctl (which comes with scikit-learn) is installed.

    That is, those libraries that are loaded already: import from scipy before.

    Their threads synchronize over small matrices, and on a busy machine each time one waits for a processor: on two
    processors an iteration of scipy's L-BFGS-B for 81 parameters takes 960 us with them and 90 without, a step of
    Levenberg-Marquardt for 881 parameters 300 ms or more and 110. The bits depend on their number, too.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        yield
        return
    with threadpool_limits(1, user_api="blas"):
        yield
