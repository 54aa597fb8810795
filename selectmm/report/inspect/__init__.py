"""A page that shows what a method kept of a pool and what it dropped.

`choice` is what is looked at; `sources`, `histogram`, `overlap` and `gallery` are the parts of the page; `page` joins
them. Nothing on it is fetched, and nothing in it runs: a pool is a stranger's file, so every text of it is escaped, and
the page forbids scripts besides.
"""
