"""What two runs' answers to the same items say about their difference."""
