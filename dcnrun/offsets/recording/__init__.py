"""Recording of one forward pass: where each feature map lies in the image, and what deformable layers sample."""
