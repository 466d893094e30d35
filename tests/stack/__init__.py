"""The rendered stack on a container engine that the tests start, which asks no registry.

Stand-ins of images are built from Debian's packages: PostgreSQL, Valkey, Caddy, Python. Real are
the project's Dockerfile, the compose files, the scripts and the engine.
"""
