"""Training with masked weights: which parameters, how many weights each keeps, which ones, and what changes them."""
