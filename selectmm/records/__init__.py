"""What a run leaves behind: stages with their cost, the record, and the trackers."""
