"""The page to explore: one HTML file that shows the sampling points of any query point on an image."""

from dcnrun.visualize.viewer.page import PageImage, PageObject, PageRun, write_page

__all__ = ["PageImage", "PageObject", "PageRun", "write_page"]
