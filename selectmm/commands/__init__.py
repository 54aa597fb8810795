"""One file per command: ``selectmm <name> …`` calls ``main`` of the file of that name with what follows."""
