"""`dcnrun predict`: what trained networks find in images, as files for people and for other tools."""
