"""Records as one static page to filter, sort and look into."""
