"""The page to explore: one HTML file that shows the sampling points of any query point on an image."""
