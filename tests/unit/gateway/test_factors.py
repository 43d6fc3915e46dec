"""Lists of methods: what may be tried, and when it is enough."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.gateway.factors import METHODS, Factors

KEY, PASSWORD, QUESTIONS, TICKET = METHODS


def left(factors: Factors) -> tuple[str, ...]:
    return factors.offered(METHODS)


def test_without_lists_any_one_method_is_enough() -> None:
    factors = Factors()
    assert left(factors) == METHODS
    assert not factors.is_complete
    assert factors.after(PASSWORD).is_complete


def test_a_list_is_passed_in_its_order() -> None:
    factors = Factors([(KEY, PASSWORD)])
    assert left(factors) == (KEY,)
    after = factors.after(KEY)
    assert left(after) == (PASSWORD,)
    assert not after.is_complete
    assert after.after(PASSWORD).is_complete


def test_one_of_several_lists_is_enough() -> None:
    factors = Factors([(KEY, PASSWORD), (QUESTIONS,), (KEY, QUESTIONS)])
    assert left(factors) == (KEY, QUESTIONS)
    assert factors.after(QUESTIONS).is_complete
    assert left(factors.after(KEY)) == (PASSWORD, QUESTIONS)


def test_the_same_method_may_be_wanted_twice() -> None:
    once = Factors([(KEY, KEY)]).after(KEY)
    assert left(once) == (KEY,)
    assert once.after(KEY).is_complete


def test_what_a_service_demands_comes_on_top() -> None:
    after = Factors().after(PASSWORD, (QUESTIONS,))
    assert left(after) == (QUESTIONS,)
    assert not after.is_complete
    assert after.after(QUESTIONS).is_complete
    both = Factors([(KEY, PASSWORD)]).after(KEY, (QUESTIONS,))
    assert left(both) == (QUESTIONS,)
    assert left(both.after(QUESTIONS)) == (PASSWORD,)


@pytest.mark.parametrize("lists", [[()], [(KEY,), ()]])
def test_an_empty_list_is_passed_by_whatever_the_others_ask(lists: list[tuple[str, ...]]) -> None:
    assert Factors(lists).is_complete


@given(st.lists(st.lists(st.sampled_from(METHODS), min_size=1, max_size=4), min_size=1, max_size=4), st.data())
def test_completion_always_takes_a_whole_list(lists: list[list[str]], data: st.DataObject) -> None:
    factors, passed = Factors(lists), list[str]()
    while not factors.is_complete:
        method = data.draw(st.sampled_from(factors.offered(METHODS)))
        factors = factors.after(method)
        passed.append(method)

    def is_through(methods: list[str]) -> bool:
        """Is `methods` in `passed`, in that order?"""
        rest = iter(passed)
        return all(method in rest for method in methods)

    assert any(is_through(methods) for methods in lists)
