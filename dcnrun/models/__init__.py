"""Networks: the conv family, its placement in a backbone, heads."""
