"""How far a difference may be off: bounds from few seeds, and the images or seeds that would decide."""
