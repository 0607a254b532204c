"""Stored instances, results, working files and quarantine: the only code that touches them."""
