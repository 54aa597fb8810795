"""One file per command: ``python -m selectmm <name> …`` calls ``main`` of the file of that name with what follows."""
