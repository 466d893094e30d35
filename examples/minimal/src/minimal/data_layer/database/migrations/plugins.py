"""Where a module says what `--autogenerate` has to know about it."""

from alembic.runtime.plugins import Plugin

_names: list[str] = []


def autogenerate_plugin(name: str) -> Plugin:
    """Make an Alembic plugin that every run of `migrations/env.py` uses.

    Call it once, when the module is imported; `env.py` calls `prepare_migrations` of the wiring,
    which imports the modules, so that nothing here has to know them. Give the plugin comparators
    (`add_autogenerate_comparator`, at priority LAST to take operations out again); renderers and
    operations of a module's own are registered with Alembic itself, as its documentation says.

    Args:
        name: a dotted name of the module's own, for example `timescaledb`.
    """
    plugin = Plugin(name)
    _names.append(name)
    return plugin


def plugin_names() -> list[str]:
    """The names of the plugins made so far."""
    return list(_names)
