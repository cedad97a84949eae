"""Training views: augmentation, and tickets and token labels carried along."""
