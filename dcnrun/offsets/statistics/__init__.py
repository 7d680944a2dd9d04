"""What the offsets of a run are like over the images of a data set: effective dilation by objects, health, history."""
