"""Features: what methods need to know of the rows, computed once and shared."""
