"""The public packages of the data layer, each under the name of what it is for.

This is the one module that names the package of this project, so that the tests of the layer are
the same text in every project. Your own tests import the package itself.
"""

import minimal.data_layer.checklist as checklist
import minimal.data_layer.cli as cli
import minimal.data_layer.database as database
import minimal.data_layer.database.migrations as migrations
import minimal.data_layer.sagas as sagas
import minimal.data_layer.sagas.declarations as saga_declarations
import minimal.data_layer.sagas.models as saga_models
import minimal.data_layer.sagas.outbox as saga_outbox
import minimal.data_layer.settings as settings
import minimal.data_layer.wiring as wiring

__all__ = [
    "checklist",
    "cli",
    "database",
    "migrations",
    "saga_declarations",
    "saga_models",
    "saga_outbox",
    "sagas",
    "settings",
    "wiring",
]
