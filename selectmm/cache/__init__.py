"""Folders of stages: their names, costs and locks; and reading files that may come from elsewhere."""
