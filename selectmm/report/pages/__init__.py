"""What every HTML page of the project shares: its frame, its light and dark colours, its tooltips, a method's mark."""
