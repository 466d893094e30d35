"""Yours: fixtures of your own tests. The data layer's fixtures come from the plugin below."""

pytest_plugins = ["tests.data_layer.fixtures"]
