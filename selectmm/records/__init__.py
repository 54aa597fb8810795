"""What a run leaves behind: stages with their cost, the record, and what is told to a tracker."""
