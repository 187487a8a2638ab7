"""Names that a user writes: resolve those of arguments, and explain those that do not exist.

`other_libraries` holds the names of other libraries.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

from fastnn._validation import canonical_name, must_be, name_of, other_libraries

T = TypeVar("T", bound=Callable[..., Any])
C = TypeVar("C", bound=type[Any])


def _plain(name: str) -> str:
    """Return a name in lower case without the characters that separate words."""
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


def resolved_name(argument: str, given: Any, names: Collection[str], aliases: Mapping[str, str]) -> str:
    """Resolve a name, also one of another library, in any letter case and with any separators of words.

    Parameters
    ----------
    argument : str
        What the name stands for, such as "loss".
    given : object
        What the user wrote.
    names : collection of str
        The canonical names.
    aliases : mapping of str to str
        Other names, each with the canonical one.

    Returns
    -------
    str
        The canonical name.

    Raises
    ------
    TypeError
        If `given` is no string.
    ValueError
        If the name is unknown; the text has the closest one, or what to write instead.
    """
    if isinstance(given, str) and issubclass(type(given), str):  # not an object that only claims to be one
        text = str.__str__(given)  # without the methods of a subclass
        found = _known(argument, text, names, aliases)
        if found is not None:
            return found
        answers = {_plain(name): answer for name, answer in other_libraries.NO_NAMES.get(argument, {}).items()}
        if _plain(text) in answers:
            raise ValueError(must_be(argument, f"one of {', '.join(names)}", given, answers[_plain(text)]))
    return canonical_name(argument, given, names, aliases)


def _known(argument: str, given: str, names: Collection[str], aliases: Mapping[str, str]) -> str | None:
    """Return the canonical name of any form of a name; None if it has none."""
    others = other_libraries.NAMES.get(argument, {})
    known = {_plain(name): target for name, target in (*others.items(), *aliases.items())}
    known |= {_plain(name): name for name in names}
    target = known.get(_plain(given))
    return target if target in names else None


def hint_for_object(argument: str, given: Any, names: Collection[str], aliases: Mapping[str, str]) -> str:
    """Return the sentence with the name of what an object of another library stands for; "" if there is none.

    Parameters
    ----------
    argument, names, aliases
        As for `resolved_name`.
    given : object
        Such as ``numpy.tanh``, ``torch.nn.ReLU()`` or a class; its name is looked up.

    Returns
    -------
    str
    """
    for named in (given, type(given)):
        found = _known(argument, name_of(named) or "", names, aliases)
        if found is not None:
            return f"Write {found!r}."
    return ""


# ------------------------------------------------------------------------------------------- arguments of calls


def explained(thing: T) -> T:
    """Decorate a function or class, so that errors of its arguments' names state what to write instead.

    The signature stays visible.

    Parameters
    ----------
    thing : function or class

    Returns
    -------
    function or class
        The class itself, or a wrapper of the function.
    """
    if not isinstance(thing, type):
        return _wrapped(thing)
    thing.__init__ = _wrapped(thing.__init__)  # type: ignore[misc]
    return thing


def immutable(advice: str) -> Callable[[C], C]:
    """Return a decorator of a frozen dataclass, so that assignments to its fields are errors that state what to do.

    Parameters
    ----------
    advice : str
        The end of the text; ``{new}`` stands for the call that makes the object with the new value.
    """

    def decorate(cls: C) -> C:
        assign: Any = cls.__setattr__

        @functools.wraps(assign)
        def set_attribute(self: Any, name: str, value: Any) -> None:
            try:
                assign(self, name, value)
            except dataclasses.FrozenInstanceError:
                kind, names = type(self).__name__, [field.name for field in dataclasses.fields(self)]
                if name not in names:
                    text = f"{kind} has no field {name!r}.{_synonym(name, names) or closest(name, names)}"
                else:
                    text = f"{name} of {kind} is read-only. {advice.format(new=_call_with(self, name, value))}"
                raise dataclasses.FrozenInstanceError(text) from None

        cls.__setattr__ = set_attribute  # type: ignore[assignment]
        return cls

    return decorate


def _call_with(instance: Any, name: str, value: Any) -> str:
    """Return the call that makes a dataclass with another value of a field, as text."""
    try:
        return repr(dataclasses.replace(instance, **{name: value}))
    except (TypeError, ValueError):  # the value is invalid
        return f"{type(instance).__name__}(..., {name}=...)"


def _wrapped(function: Any) -> Any:
    @functools.wraps(function)
    def call(*args: Any, **keywords: Any) -> Any:
        try:
            return function(*args, **keywords)
        except TypeError as error:
            # Without a frame of `function`, its arguments could not be bound.
            if error.__traceback__ is not None and error.__traceback__.tb_next is None:
                text = _misnamed(function, len(args), keywords)
                if text:
                    raise TypeError(text) from None
            raise

    return call


def _misnamed(function: Any, n_positional: int, keywords: Mapping[str, Any]) -> str:
    """Return the text about a keyword that a function does not have, or too many arguments by position; else ""."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) for parameter in parameters):
        return ""
    names = [parameter.name for parameter in parameters if parameter.name != "self"]
    call = function.__qualname__.removesuffix(".__init__").rpartition(".")[2]
    for keyword in keywords:
        if keyword not in names:
            return unknown_keyword(call, keyword, names)
    by_position = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    by_name = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in keywords]
    if n_positional <= len(by_position):
        return ""
    taken = ", ".join(name for name in by_position if name != "self")
    text = f"{call}() takes {f'only {taken}' if taken else 'no arguments'} by position"
    return f"{text}; give others by name: {'=..., '.join(by_name)}=..." if by_name else f"{text}."


def unknown_keyword(call: str, keyword: str, names: Collection[str]) -> str:
    """Return the text about a keyword that a call does not have.

    Parameters
    ----------
    call : str
        Name of the function or class.
    keyword : str
    names : collection of str
        Those that it has.

    Returns
    -------
    str
    """
    text = f"{call}() has no argument {keyword!r}."
    synonym = _synonym(keyword, names)
    if synonym:
        return text + synonym
    if keyword in other_libraries.KEYWORDS:
        return f"{text} {other_libraries.KEYWORDS[keyword]}"
    return f"{text}{closest(keyword, names)} The arguments are {', '.join(names)}."


def _synonym(keyword: str, names: Collection[str]) -> str:
    found = [name for name in other_libraries.SYNONYMS.get(keyword, ()) if name in names]
    return f" Write {found[0]}." if found else ""


def closest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return the sentence with the name that is closest to another one, after a space; "" if none is close."""
    import difflib  # where used: errors alone need it

    by_plain = {_plain(one): one for one in known}
    close = difflib.get_close_matches(_plain(name), by_plain, n=1, cutoff=cutoff)
    return f" Did you mean {by_plain[close[0]]!r}?" if close else ""


# ------------------------------------------------------------------------------------------- attributes and files


def no_attribute(owner: str, name: str, answers: Mapping[str, str], known: Iterable[str]) -> str:
    """Return the text about an attribute that does not exist.

    Parameters
    ----------
    owner : str
        What it would belong to, such as "a Model".
    name : str
    answers : mapping of str to str
        A table of `other_libraries`.
    known : iterable of str
        The attributes there are.

    Returns
    -------
    str
    """
    answer = answers.get(name)
    return f"{owner} has no attribute {name!r}." + (f" {answer}" if answer else closest(name, known))


def check_suffix(argument: str, path: Any) -> None:
    """Raise ValueError if the end of a file's name is that of another format than the one that is written."""
    if not isinstance(path, str | os.PathLike):
        return
    stem, suffix = os.path.splitext(os.fspath(path))
    if suffix in other_libraries.SUFFIXES:
        advice = f"A model is a NumPy file, such as {stem}.npz."
        raise ValueError(must_be(argument, f"a name without {suffix}, which is another format", path, advice))
