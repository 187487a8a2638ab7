"""Thread limit of the BLAS and LAPACK behind SciPy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit BLAS and LAPACK to one thread, if threadpoolctl (a dependency of scikit-learn) is installed.

    The limit applies to libraries that are loaded already: import from scipy before.

    Their threads synchronize over small matrices, and on a busy machine wait for a processor each time: on two
    processors an iteration of scipy's L-BFGS-B for 81 parameters takes 960 us with them and 90 without, a step of
    Levenberg-Marquardt for 881 parameters 300 ms or more and 110. The number of threads also changes the bits.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        yield
        return
    with threadpool_limits(1, user_api="blas"):
        yield
