"""A script as a command: a picture's path, ``--help``, what is missing, all before the training begins.

Every example is such a script.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["run_script"]


def __dir__() -> list[str]:
    return __all__


#: Packages with another name than their module.
_PACKAGES = {"sklearn": "scikit-learn"}


def run_script(main: Callable[[str | None], Any], *, needs: Sequence[str] = ()) -> None:
    """Call the function `main` of a script with the path of the picture from the command line.

    Parameters
    ----------
    main : callable
        It takes the path of the picture to write, or None. The docstring of its module is the text of ``--help``.
    needs : sequence of str
        Modules that are needed besides fastnn; a picture needs matplotlib.

    Raises
    ------
    SystemExit
        After ``--help``; if a module is missing, or the picture cannot be written.

    Examples
    --------
    The end of a script whose function `main` trains, and draws if the path is not None::

        if __name__ == "__main__":
            run_script(main, needs=["sklearn"])
    """
    parser = argparse.ArgumentParser(
        description=main.__globals__["__doc__"], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("picture", nargs="?", help="file for the picture, such as picture.png; its folder is made")
    picture = parser.parse_args().picture
    for name in (*needs, *(["matplotlib"] if picture else [])):
        if importlib.util.find_spec(name) is None:
            parser.error(f"{name} is needed, which is not installed: pip install {_PACKAGES.get(name, name)}")
    if picture:
        _prepare(Path(picture), parser.error)
    main(picture)
    if picture:
        print(f"written to {picture}", file=sys.stderr)


def _prepare(path: Path, refuse: Callable[[str], Any]) -> None:
    """Make the folder of a picture; refuse what matplotlib cannot write there."""
    from matplotlib.backend_bases import FigureCanvasBase

    formats = FigureCanvasBase.get_supported_filetypes()
    if path.suffix[1:].lower() not in formats:
        refuse(f"picture must end in one of .{', .'.join(sorted(formats))}, got {path}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        refuse(f"picture must be in a folder that can be made, got {path} ({error.strerror})")
    if path.is_dir():
        refuse(f"picture must be a file, got the folder {path}")
