"""Pages: HTML files that need nothing else, and what they share of frame, escaping, style and charts."""
