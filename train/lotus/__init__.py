"""LOTUS: essential sparsity, tickets of patches and soups of masks, as a plan of commands (Upadhyay 2024)."""
