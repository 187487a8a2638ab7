"""The part of `fastnn.Model` that takes a net into compiled code; `fastnn.jit` is imported by the first call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastnn._training.net import Net
from fastnn._validation import check_bool

if TYPE_CHECKING:
    from fastnn.jit import JitNet


class Embedding:
    """Methods of a class that has a `Net`."""

    __slots__ = ()
    _net: Net

    def jit(self, *, copy: bool = False) -> JitNet:
        """Return this net as an argument of functions compiled by Numba.

        Parameters
        ----------
        copy : bool
            Whether the net has copies of the weights. By default it uses those of this model, and what training makes
            of them.

        Returns
        -------
        JitNet
            With the methods `predict_row`, `predict`, `vjp_row` and `jacobian_row` inside compiled functions. The first
            net of a dtype on a machine takes some seconds, for which its functions are compiled; they are kept on disk.

        Raises
        ------
        ValueError
            If there are no weights yet, or a layer is too wide for a thread's stack; see `JitNet`.
        """
        from fastnn.jit import JitNet, frozen

        check_bool(copy, "copy")
        with self._net.kernel_lock:
            engine = self._net.built()
            return frozen(engine) if copy else JitNet(engine)

    def low_level_callable(self, kind: str = "quad", *, output: int = 0) -> Any:
        """Return this net as a compiled callback of SciPy, which is called without the interpreter.

        It uses the weights of this model, and what training makes of them.

        Parameters
        ----------
        kind : {"quad", "nquad", "generic_filter", "generic_filter1d", "geometric_transform"}
            The function that calls it. Of ``scipy.integrate``, it passes a point of as many coordinates as the net has
            features. Of ``scipy.ndimage``, the features are the elements of the footprint, or of the window along a
            line, or the coordinates in the output, for which the net's outputs are the coordinates in the input.
        output : int
            The output that is returned, for a net with several ones; without effect for "geometric_transform".

        Returns
        -------
        scipy.LowLevelCallable
            It keeps the net alive. Numbers are double, also for a net of float32.

        Raises
        ------
        ValueError
            As for `jit`, and if an argument is none of the above. Where a call has another number of features than the
            net, an integral is NaN, and a filter raises RuntimeError.
        ImportError
            If SciPy is not installed.
        """
        from fastnn.jit import low_level_callable

        return low_level_callable(self.jit(), kind, output=output)
