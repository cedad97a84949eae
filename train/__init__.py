"""Stage 2: train on tickets, random subsets or whole images; evaluate all ways; report the verdict."""
