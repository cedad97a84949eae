"""The plan of a grid of weights x patches: every row of patches, trained with every way to have fewer weights."""
