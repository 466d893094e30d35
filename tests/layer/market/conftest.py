"""The fixtures of the example's own tests."""

from tests.market.conftest import app, bars, client, desk

__all__ = ["app", "bars", "client", "desk"]
