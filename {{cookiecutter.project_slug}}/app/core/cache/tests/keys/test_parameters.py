"""Calls are bound by a function that is compiled once: from names alone, and as Python binds them."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import BackgroundTasks, Response
from starlette.requests import HTTPConnection, Request

from ...keys.parameters import Parameters, compiled


class Odd:
    """A default whose text is code."""

    def __repr__(self) -> str:
        return "0, run=print('it runs')"


ODD = Odd()


def test_defaults_are_the_objects_that_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is compiled but names: no default, and no annotation."""

    def function(a: Any, b: Any = ODD, *, c: Any = ODD) -> None:
        """Do nothing."""

    function.__annotations__["a"] = ODD
    arguments = Parameters.of(function).arguments((1,), {})
    assert arguments == {"a": 1, "b": ODD, "c": ODD}
    assert capsys.readouterr().out == ""


def test_a_default_that_changes_is_seen() -> None:
    """It is the same object."""
    more = [1]

    def function(a: int, more: list[int] = more) -> None:
        """Do nothing."""

    parameters = Parameters.of(function)
    more.append(2)
    assert parameters.arguments((0,), {})["more"] == [1, 2]


def test_any_name_may_be_a_parameter() -> None:
    """Those of builtins, and those that the module itself uses."""

    def function(dict: int, tuple: int, self: int, args: int, bind: int, **lambda_: int) -> None:  # noqa: A002
        """Do nothing."""

    parameters = Parameters.of(function)
    call = {"dict": 1, "tuple": 2, "self": 3, "args": 4, "bind": 5, "more": 6}
    expected = inspect.signature(function).bind(**call).arguments
    assert parameters.arguments((), call) == expected
    assert parameters.picking(("self", "dict"))(**call) == (3, 1)


def test_what_is_no_name_is_not_compiled() -> None:
    """Python's own signatures have none."""
    for name in ("a, b", "a=print()", "1", "lambda"):
        with pytest.raises(ValueError, match=r"not a valid parameter name|cannot be"):
            compiled(inspect.Signature([inspect.Parameter(name, _NAMED)]), "()")


_NAMED = inspect.Parameter.POSITIONAL_OR_KEYWORD


def plain(response: Response) -> None: ...
def optional(response: Response | None = None) -> None: ...
def several(response: Response | str = "") -> None: ...
def connected(response: int, connection: HTTPConnection) -> None: ...
def asked(response: int, request: Request, tasks: BackgroundTasks) -> None: ...


@pytest.mark.parametrize(
    ("function", "keyed", "response", "connection"),
    [
        (plain, (), "response", None),
        (optional, (), "response", None),
        (several, ("response",), None, None),
        (connected, ("response", "connection"), None, "connection"),
        (asked, ("response", "request"), None, None),
    ],
)
def test_p8_what_fastapi_fills_in_is_found_by_its_annotation(
    function: Callable[..., Any], keyed: Any, response: Any, connection: Any
) -> None:
    """What may be something else counts."""
    parameters = Parameters.of(function)
    assert parameters.keyed == keyed
    assert (parameters.response, parameters.connection) == (response, connection)
