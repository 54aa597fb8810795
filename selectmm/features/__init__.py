"""Features: what methods need to know of the rows, computed once and shared.

`feature` says what one is, `store` computes those that are missing. Behind it: `onepass` (a pass in shards), `reading`
(by loader processes), `loaded` (what they make of rows), `shards` (files), and for several processes `ranks` and
`worker`.
"""
