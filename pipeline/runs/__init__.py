"""What a training run leaves on disk: its settings, its log, its predictions, its name."""
