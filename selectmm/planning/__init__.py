"""What an experiment will cost before anything runs: stages, tokens, FLOPs, memory, time on a named GPU (README.md)."""
