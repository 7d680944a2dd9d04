"""Finds out what a folder of data is, by looking at it: `folder.discover`."""
