"""Adoption: what the layer needs in the files of a project that is older than the layer."""
