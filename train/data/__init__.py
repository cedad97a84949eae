"""Which images an epoch gives, in which order, and the stream that reads them."""
