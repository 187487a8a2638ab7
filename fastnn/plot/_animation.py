"""A picture that moves: frames that a function draws, as a film in notebooks and in files."""

from __future__ import annotations

import copy
import dataclasses
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn._figure import house_style
from fastnn._figure.palette import house_colours
from fastnn._figure.style import background_of
from fastnn._validation import as_path, as_sequence, must_be, positive_integer
from fastnn.callbacks import Snapshot, Snapshots
from fastnn.model import Model, subject_of
from fastnn.plot._gif import write_gif

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Largest number of frames of a film.
MOST_FRAMES = 600
#: Frame t of a film, from 0 to 1, is at t^_EASE of the training, most of which happens at its beginning.
_EASE = 1.5


class Animation:
    """Frames of a picture, which notebooks show with buttons, and which `save` writes into a file.

    Made by the functions of `fastnn.plot` whose names end in `_animation`.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        With its first frame drawn.
    draw : callable
        ``draw(k)`` draws frame k into the figure.
    n_frames : int
    fps : int
        Frames per second.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
        The picture, as it was drawn last.
    n_frames : int
    fps : int
    """

    def __init__(self, figure: Figure, draw: Callable[[int], None], n_frames: int, fps: int) -> None:
        self.figure = figure
        self._draw = draw
        self.n_frames = n_frames
        self.fps = fps
        self.draw(0)

    def __repr__(self) -> str:
        """Return the number of frames and their rate."""
        return f"<Animation of {self.n_frames} frames, {self.fps} per second>"

    def __len__(self) -> int:
        """Count the frames."""
        return self.n_frames

    def draw(self, frame: int) -> Figure:
        """Draw one frame.

        Parameters
        ----------
        frame : int
            Its number, from 0; negative numbers count from the end.

        Returns
        -------
        matplotlib.figure.Figure
            The picture, which is the same for all frames: it shows the frame until another one is drawn.

        Raises
        ------
        IndexError
            If there is no such frame.
        """
        number = range(self.n_frames)[frame]
        with house_style(background_of(self.figure.axes[0])):
            self._draw(number)
        return self.figure

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the film into a file, of the format that its suffix names; a failed call leaves no file.

        Parameters
        ----------
        path : path
            ``.gif`` (which repeats, and needs Pillow, as matplotlib does), ``.mp4`` (needs the program ffmpeg) or
            ``.html`` (a page with buttons, which needs nothing else).

        Raises
        ------
        ValueError
            If the suffix is another.
        RuntimeError
            If ffmpeg is needed and not installed.
        OSError
            If the file cannot be written.
        """
        target = Path(as_path("path", path))
        writers: dict[str, Callable[[Path], None]] = {".gif": self._gif, ".mp4": self._mp4, ".html": self._html}
        write = writers.get(target.suffix.lower())
        if write is None:
            raise ValueError(must_be("path", "a name that ends in .gif, .mp4 or .html", str(target)))
        with tempfile.TemporaryDirectory(dir=target.absolute().parent) as folder:
            made = Path(folder, f"film{target.suffix.lower()}")
            write(made)
            os.replace(made, target)

    def _repr_html_(self) -> str:
        """Return the film with buttons, which notebooks show."""
        return self._html_text()

    # ------------------------------------------------------------------------------------------- formats

    def _pixels(self, frame: int) -> npt.NDArray[np.uint8]:
        """Return a frame as red, green and blue, (height, width, 3)."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        self.draw(frame)
        canvas = FigureCanvasAgg(self.figure)
        canvas.draw()
        return np.array(canvas.buffer_rgba())[..., :3]

    def _gif(self, path: Path) -> None:
        kept = [background_of(self.figure.axes[0]), *house_colours()]
        write_gif(path, self._pixels, self.n_frames, self.fps, kept)

    def _mp4(self, path: Path) -> None:
        from matplotlib.animation import FFMpegWriter

        if not FFMpegWriter.isAvailable():
            raise RuntimeError(
                "path ends in .mp4, which the program ffmpeg writes, and it is not installed: apt install ffmpeg, brew "
                "install ffmpeg or conda install ffmpeg; or save a .gif or .html."
            )
        self._film().save(path, writer=FFMpegWriter(fps=self.fps, bitrate=2000))

    def _html(self, path: Path) -> None:
        page = f'<!DOCTYPE html>\n<meta charset="utf-8">\n<title>fastnn</title>\n{self._html_text()}'
        path.write_text(page, encoding="utf-8")

    def _html_text(self) -> str:
        text: str = self._film().to_jshtml(fps=self.fps, default_mode="loop")
        return text

    def _film(self) -> Any:
        """Return the film as matplotlib has it, which complains if it is made and not used."""
        from matplotlib.animation import FuncAnimation
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        FigureCanvasAgg(self.figure)
        return FuncAnimation(
            self.figure, lambda k: self.draw(k).axes, frames=self.n_frames, interval=1000 / self.fps,
            cache_frame_data=False,
        )  # fmt: skip


class Moving:
    """The parts of a picture that change from frame to frame.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        With the parts that stay.
    """

    def __init__(self, ax: Any) -> None:
        self._ax = ax
        self._own: list[Any] = []

    def replace(self, draw: Callable[[], Any]) -> None:
        """Remove what the last call drew, and call a function that draws into the axes."""
        for artist in self._own:
            artist.remove()
        before = set(self._ax.get_children())
        draw()
        self._own = [artist for artist in self._ax.get_children() if artist not in before]


def hold_layout(figure: Any) -> None:
    """Compute the layout of a figure once, so that nothing moves between frames."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def as_fps(fps: Any) -> int:
    """Validate a number of frames per second, 1 to 50: GIF counts in hundredths of seconds, and faster is skipped."""
    count = positive_integer(fps, "fps")
    if count > 50:
        raise ValueError(must_be("fps", "from 1 to 50", fps))
    return count


def as_frames(frames: Any) -> int:
    """Validate a largest number of frames, 2 to `MOST_FRAMES`."""
    count = positive_integer(frames, "frames")
    if not 2 <= count <= MOST_FRAMES:
        raise ValueError(must_be("frames", f"from 2 to {MOST_FRAMES}", frames))
    return count


def as_snapshots(argument: str, given: Any, model: Model) -> list[Snapshot]:
    """Return snapshots of a model as a list.

    Raises
    ------
    TypeError, ValueError
        If they are none, of another net, or fewer than two.
    """
    constraint = "a callbacks.Snapshots after a fit, or a list of its items"
    items = list(given) if isinstance(given, Snapshots) else list(as_sequence(argument, constraint, given))
    if not all(isinstance(item, Snapshot) for item in items):
        raise TypeError(must_be(argument, constraint, given))
    if len(items) < 2:
        raise ValueError(must_be(argument, "at least two snapshots", len(items), "Give the callback to fit."))
    shapes = [w.shape for w in model.weights]
    for k, item in enumerate(items):
        if [w.shape for w in item.weights] != shapes:
            found = [w.shape for w in item.weights]
            raise ValueError(must_be(f"{argument}[{k}]", f"of the model, with weights of shapes {shapes}", found))
    return items


def chosen(items: Sequence[Any], most: int) -> list[Any]:
    """Return at most `most` items, the first and the last among them, closer together where a training begins."""
    last = len(items) - 1
    places = last * np.linspace(0.0, 1.0, min(most, len(items))) ** _EASE
    # Where they would coincide, the next ones are taken.
    numbers = np.minimum(np.maximum(np.round(places), np.arange(len(places))), last - np.arange(len(places))[::-1])
    return [items[int(k)] for k in numbers]


class Replica:
    """A copy of a Model or an estimator, whose weights are set to those of snapshots.

    Parameters
    ----------
    model : Model or estimator
        Not changed.

    Attributes
    ----------
    model : Model or estimator
        The copy, of the same type.
    net : Model
        Its net.
    """

    def __init__(self, model: Any) -> None:
        subject_of(model)  # raises where it is neither
        self.model = copy.deepcopy(model)
        self.net: Model = subject_of(self.model).model
        if self.net.averages is not None:  # else predictions would use them
            self.net.optimizer = dataclasses.replace(self.net.optimizer, ema_momentum=None)

    def show(self, snapshot: Snapshot) -> Any:
        """Set the weights and return the copy."""
        self.net.weights = snapshot.weights
        self.net.biases = snapshot.biases
        return self.model


def heading(snapshot: Snapshot) -> str:
    """Return the title of a frame: its epoch and loss."""
    loss = "" if np.isnan(snapshot.loss) else f", loss {snapshot.loss:.4f}"
    return f"epoch {snapshot.epoch:,}{loss}"


def some_rows(n: int, most: int) -> npt.NDArray[np.int64]:
    """Return the numbers of at most `most` of n rows, evenly spaced."""
    return np.linspace(0, n - 1, min(n, most)).astype(np.int64)
