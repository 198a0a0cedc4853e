"""Errors, categories of results, and what classifiers once gave."""

from __future__ import annotations

from typing import Any

from flows.excellent.environment import Environment
from flows.excellent.values import Fault, Object, text
from flows.matchers import Match, register


@register("has_error", "any", it="è un errore", en="is an error", tolerant=True)
def has_error(environment: Environment, value: Any) -> Match | None:
    """What fits is the error's text."""
    return Match(value.what) if isinstance(value, Fault) else None


@register("has_category", "any, text*", it="ha la categoria", en="has the category")
def has_category(environment: Environment, result: Any, *categories: str) -> Match | None:
    """A result whose category is one of these."""
    category = text(result.get("category")) if isinstance(result, Object) else text(result)
    return Match(category) if category and category in categories else None


@register("has_intent", "any, any*", it="ha l'intento", en="has the intent")
def has_intent(environment: Environment, value: Any, *arguments: Any) -> Match | None:
    """Never: classifiers were taken out of RapidPro."""
    return None


@register("has_top_intent", "any, any*", it="ha come primo intento", en="has the top intent")
def has_top_intent(environment: Environment, value: Any, *arguments: Any) -> Match | None:
    """Never, as `has_intent`."""
    return None
