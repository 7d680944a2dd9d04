"""Statistics of offsets over the images of a data set: effective dilation by objects, health."""
