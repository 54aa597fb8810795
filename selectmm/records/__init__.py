"""What a run leaves behind: its record, the answers behind its scores, and what it logs to trackers."""
