"""The rows that a method chooses from, and their images."""
