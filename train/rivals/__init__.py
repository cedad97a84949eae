"""Ways to train with fewer weights as a plan: each for as many epochs, beside dense training."""
