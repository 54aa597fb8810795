"""Start a stage's processes, on one machine or several, and have them find one another."""
