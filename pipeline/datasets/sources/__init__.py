"""Sources: what people have on disk, found as splits and read sample by sample."""
