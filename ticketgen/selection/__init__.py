"""Selection: the selector, the other methods, cross-fitting, the annotator."""
