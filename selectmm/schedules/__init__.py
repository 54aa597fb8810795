"""When rows are chosen: before training (`static`), or again and again while the model learns (README.md)."""
