"""The data layer alone, for a package that exists already."""
