"""Adoption: what the layer needs of the files of a project that was there before it."""
