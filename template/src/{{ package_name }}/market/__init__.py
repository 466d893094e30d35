"""The worked example: a small market-data desk. Replace it with your own domain.

It uses only the public names of the data layer, so whatever stands here can be thrown away.
"""
