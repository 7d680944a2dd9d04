"""The engines that run a sweep, each a file."""
