"""The data layer: managed by the template, rewritten by `copier update`.

Your own code stands beside this package and imports it; nothing in here imports your code.
"""
