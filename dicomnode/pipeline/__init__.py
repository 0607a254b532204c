"""The order of the stages; the only package that knows them all.

`setup` is what a pipeline is made of, `analysis` the stages one after the other on files,
`workflows` the same as durable work, with `delivery` behind it.
"""
