"""A report as one HTML page: the tables, pictures and sentences of the Markdown page, and what each method kept.

`page` puts it together, `picture` makes the plot part of the page, `kept` draws the rows per source.
"""
