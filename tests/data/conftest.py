"""What the tests of this folder share: a planted value, and a check that no error carries it."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import pytest

from synthkit.errors import SynthkitError

PLANTED = "ZZTOP-91733"


@pytest.fixture
def planted() -> str:
    """A value that no message may carry."""
    return PLANTED


@pytest.fixture
def refusal() -> Callable[..., str]:
    """Call something that must be refused; returns the message after looking through the whole error."""

    def message(call: Callable[[], object], kind: type[SynthkitError]) -> str:
        with pytest.raises(kind) as caught:
            call()
        for error in _chain(caught.value):
            for text in (str(error), repr(error), repr(error.args), repr(vars(error))):
                assert PLANTED not in text
        assert PLANTED not in "".join(traceback.format_exception(caught.value))
        return str(caught.value)

    return message


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    waiting = [error]
    while waiting:
        current = waiting.pop()
        if current is not None and current not in found:
            found.append(current)
            waiting += [current.__context__, current.__cause__]
    return found
