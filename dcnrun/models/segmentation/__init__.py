"""Segmentation heads, one file each, and the network that joins one to a backbone."""
