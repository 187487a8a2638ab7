"""Version of the package, the same as in ``pyproject.toml``, and what it is installed as."""

from __future__ import annotations

import os
import warnings

__version__ = "0.1.0"

#: Name on the package index; "fastnn" is the name of another project there.
DISTRIBUTION = "fastnn-mlp"
#: A file that the other project has in its package of the same name, and this one has not.
_FILE_OF_OTHER = "client.py"


def warn_of_other_project(folder: str) -> None:
    """Warn where the folder of the package holds files of the other project, too."""
    if os.path.exists(os.path.join(folder, _FILE_OF_OTHER)):
        warnings.warn(
            f"{folder} holds files of two projects: the distribution fastnn is another one than {DISTRIBUTION}. "
            f"Uninstall both, then install {DISTRIBUTION}: pip uninstall fastnn {DISTRIBUTION}.",
            RuntimeWarning,
            stacklevel=3,
        )
