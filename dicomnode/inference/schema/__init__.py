"""What may stand in a manifest: every table, its keys, their values and meaning.  No file is read.

`inference.manifest` reads manifests; docs/models.md carries a reference generated from here.
"""
