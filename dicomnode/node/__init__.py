"""The composition root: builds the parts from the configuration, starts, watches, drains, stops.

Nothing is imported here: a role loads what it needs, a receiver neither models nor results.
"""
