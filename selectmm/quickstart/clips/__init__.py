"""Rendered clips beside the embedded pool: what they show, how they are written, and a benchmark that asks of them."""
