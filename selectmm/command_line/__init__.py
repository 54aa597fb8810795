"""What is typed: the help, choices of a user's own, and a command as configurations of jobs."""
