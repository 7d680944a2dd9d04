"""Follows an image through a network: where each map lies in it, and what deformable layers sample."""
