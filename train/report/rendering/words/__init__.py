"""The results in words: headline, contrasts, accuracy for cost; rows of cells as text."""
