"""The command `dcnrun visualize-offsets`: pictures, a page and statistics of where trained runs sample images."""
