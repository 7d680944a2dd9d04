"""Pictures of what networks find in images, alone and beside each other or the truth."""
