"""Modules that come and go, and updates of the template: what the project's source says of them."""
